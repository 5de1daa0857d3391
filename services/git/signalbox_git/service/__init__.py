"""Use cases of the git service."""
