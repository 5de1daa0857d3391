"""Isolated sandboxes that runs work in."""
