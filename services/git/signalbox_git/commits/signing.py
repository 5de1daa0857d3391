"""Signs commits as `git commit -S` does with `gpg.format=ssh`: the same key, the same signature."""

import base64
import hashlib
import struct
import textwrap
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

_MAGIC, _VERSION, _NAMESPACE, _HASH = b"SSHSIG", 1, b"git", b"sha512"
_KIND = b"ssh-ed25519"
_WIDTH = 70
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HEADER = b"gpgsig"


class NoSigningKey(Exception):
    """It is none, of another kind, or has a passphrase."""


@dataclass(frozen=True)
class SigningKey:
    _key: Ed25519PrivateKey = field(repr=False)

    @staticmethod
    def read(text: str) -> "SigningKey":
        """Raises NoSigningKey, which says nothing of it."""
        try:
            key = load_ssh_private_key(f"{text.strip()}\n".encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise NoSigningKey from None
        if not isinstance(key, Ed25519PrivateKey):
            raise NoSigningKey
        return SigningKey(key)

    @property
    def public(self) -> str:
        return self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")

    def sign(self, content: bytes) -> str:
        """In its armour, without a line end."""
        digest = hashlib.sha512(content).digest()
        asked = _MAGIC + b"".join(map(_string, (_NAMESPACE, b"", _HASH, digest)))
        signature = _string(_KIND) + _string(self._key.sign(asked))
        public = base64.b64decode(self.public.split()[1])
        whole = _MAGIC + struct.pack(">I", _VERSION)
        whole += b"".join(map(_string, (public, _NAMESPACE, b"", _HASH, signature)))
        lines = textwrap.wrap(base64.b64encode(whole).decode("ascii"), _WIDTH)
        return "\n".join((_BEGIN, *lines, _END))


def signed(commit: bytes, key: SigningKey) -> bytes:
    """A commit object with its signature, as git writes it: below the other headers."""
    head, blank, message = commit.partition(b"\n\n")
    signature = key.sign(commit).replace("\n", "\n ").encode("ascii")
    return head + b"\n" + _HEADER + b" " + signature + blank + message


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content
