"""Manifests as the client and the catalog read them: the same text is the same values, on the same lines."""

from signalbox_manifests.document import Document, Path
from signalbox_manifests.flaws import Flaw, ManifestError
from signalbox_manifests.reader import read
from signalbox_manifests.versions import API_VERSION, FOREIGN_API_VERSIONS

__all__ = ["API_VERSION", "FOREIGN_API_VERSIONS", "Document", "Flaw", "ManifestError", "Path", "read"]
