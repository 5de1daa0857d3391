"""Compares the servers that are installed with what was checked, and with what their wheels say."""
