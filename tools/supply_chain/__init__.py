"""The servers of the native stack: whether they are what was recorded, and what they were built from."""
