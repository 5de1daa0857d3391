"""Tasks and their runs."""
