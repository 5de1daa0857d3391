"""Entities and rules of this service; nothing here reads or writes anything."""
