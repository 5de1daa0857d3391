"""Writes the references in `docs/`: OpenAPI of the gateway, AsyncAPI of every service."""
