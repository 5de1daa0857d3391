"""Routes of the data plane."""
