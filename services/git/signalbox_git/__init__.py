"""Checkouts, commits, branches and pull requests."""
