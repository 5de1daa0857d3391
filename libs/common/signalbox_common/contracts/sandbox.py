"""Contracts of the sandbox service; it answers the contracts of every owner and has none of its own yet."""
