"""What goes on after the answer: runs, step by step, and the clock that ends them."""
