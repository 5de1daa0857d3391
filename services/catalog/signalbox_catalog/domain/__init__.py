"""Entities and rules of the catalog; no I/O in here."""
