"""Mirrors: a bare repository for each one of a project, kept fresh, and removed where room is needed."""
