"""The statements of the tasks service."""
