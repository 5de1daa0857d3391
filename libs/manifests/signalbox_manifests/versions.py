"""What `apiVersion` says in the documents of the catalog."""

API_VERSION = "signalbox.dev/v1"
FOREIGN_API_VERSIONS = frozenset({"agent.wecode.io/v1"})
"""Whose documents are taken as if they were ours."""
