"""Contracts of the catalog service; it answers the contracts of every owner and has none of its own yet."""
