"""What goes on after its request was answered."""
