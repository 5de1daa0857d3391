"""What goes on after the answer: sandboxes become what is wanted of them."""
