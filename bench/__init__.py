"""Measures what the architecture costs: queries, durable commands, and startup."""
