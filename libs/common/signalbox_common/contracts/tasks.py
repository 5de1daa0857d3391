"""Contracts of the tasks service; it answers the contracts of every owner and has none of its own yet."""
