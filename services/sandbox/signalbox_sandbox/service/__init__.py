"""What can be asked of sandboxes: each use case writes down what is wanted, and work makes it so."""
