"""What makes a password too weak; nothing else is refused."""

from functools import cache
from importlib.resources import files

from signalbox_auth.domain.errors import BadPasswordHash, WeakPassword
from signalbox_auth.domain.names import folded

SHORTEST = 12
_BCRYPT = ("$2a$", "$2b$", "$2y$")
_BCRYPT_LENGTH = 60


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
    """A hash from another system, of a kind that we can verify."""
    if is_bcrypt(given) and len(given) == _BCRYPT_LENGTH and given[4:6].isdecimal():
        return given
    if given.startswith("$argon2id$v=19$") and given.isascii() and given.count("$") == 5:
        return given
    raise BadPasswordHash
