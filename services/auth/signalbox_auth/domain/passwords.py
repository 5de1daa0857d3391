"""What makes a password too weak; nothing else is refused."""

import re
from functools import cache
from importlib.resources import files

from signalbox_auth.domain.names import folded
from signalbox_auth.errors import BadPasswordHash, WeakPassword

SHORTEST = 12
_BCRYPT = ("$2a$", "$2b$", "$2y$")
_BCRYPT_FORM = re.compile(r"\$2[aby]\$(?P<cost>0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}", re.ASCII)
_ARGON2_FORM = re.compile(
    r"\$argon2id\$v=19\$m=(?P<m>[0-9]{1,7}),t=(?P<t>[0-9]{1,2}),p=(?P<p>[0-9]{1,2})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}",
    re.ASCII,
)
# Whoever signs in with it holds up everybody else for as long as it takes.
_BCRYPT_COST = 13
_ARGON2_MEMORY, _ARGON2_PASSES = 262_144, 10


@cache
def _common() -> frozenset[str]:
    return frozenset((files(__package__) / "common_passwords.txt").read_text(encoding="utf-8").splitlines())


def check_password(password: str, *, username: str, email: str) -> None:
    """Raises WeakPassword for one that a guesser would try first."""
    if len(password) < SHORTEST:
        raise WeakPassword(f"must have at least {SHORTEST} characters")
    plain = password.casefold()
    if plain in _common():
        raise WeakPassword("is one of those that are tried first")
    if folded(password) in {folded(username), folded(email), folded(email.partition("@")[0])}:
        raise WeakPassword("must not be one's own name or e-mail address")


def is_bcrypt(stored: str) -> bool:
    return stored.startswith(_BCRYPT)


def checked_hash(given: str) -> str:
    """A hash from another system, of a kind that we can verify in a second."""
    bcrypt, argon2 = _BCRYPT_FORM.fullmatch(given), _ARGON2_FORM.fullmatch(given)
    if bcrypt is not None and int(bcrypt["cost"]) <= _BCRYPT_COST:
        return given
    if argon2 is not None:
        memory, passes, lanes = (int(argon2[name]) for name in ("m", "t", "p"))
        if 8 * lanes <= memory <= _ARGON2_MEMORY and 1 <= passes <= _ARGON2_PASSES and 1 <= lanes <= 16:
            return given
    raise BadPasswordHash
