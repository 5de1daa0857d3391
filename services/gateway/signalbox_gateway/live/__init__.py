"""The stream edge: connections that stay open, and end when what they stand on does."""
