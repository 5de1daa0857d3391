"""The use cases of the tasks service."""
