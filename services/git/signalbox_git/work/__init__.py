"""What goes on after the answer."""
