"""Names: how they are compared, and the slugs that are made of them."""

import re
import unicodedata

from signalbox_auth.errors import ReservedName, SlugReserved

RESERVED_SLUGS = frozenset({"default"})
RESERVED_NAMES = (
    "admin",
    "admins",
    "administrator",
    "administrators",
    "superadmin",
    "superuser",
    "sysadmin",
    "root",
    "system",
    "signalbox",
    "support",
    "security",
    "moderator",
    "postmaster",
    "webmaster",
)
"""What nobody may call themselves: others would believe them."""
SLUG_LENGTH = 63
_NOT_SLUG = re.compile(r"[^a-z0-9]+")

# Letters of other scripts that cannot be told from Latin ones, after folding.
_LOOKALIKES = str.maketrans(
    "аеһіїјкмнорԛстуѵԝхѕԁԍɡвьгαεικνορτυχγηωօոսցհıɑʟɩᴏѡ",
    "aehiijkmhopqctyvwxsdggbbraeikvoptuxynwonughialiow",
)


def folded(name: str) -> str:
    """How names are compared: without regard to case, compatibility forms and scripts that look alike."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    if plain.isascii():
        return plain
    visible = "".join(character for character in plain if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", visible.translate(_LOOKALIKES))


_SHAPES = str.maketrans("0134578@$!|i", "oleastbaslll")
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))


def skeleton(name: str) -> str:
    """What is left of a name for somebody who reads it in passing: the same for names that look alike."""
    bare = "".join(
        character
        for character in unicodedata.normalize("NFKD", folded(name))
        if unicodedata.category(character) != "Mn"
    )
    shape = "".join(filter(str.isalnum, folded(bare).translate(_SHAPES)))
    for pair, letter in _PAIRS:
        shape = shape.replace(pair, letter)
    return shape


_RESERVED_SHAPES = frozenset(map(skeleton, RESERVED_NAMES))


def check_unreserved(name: str | None, field: str) -> None:
    if name is not None and skeleton(name) in _RESERVED_SHAPES:
        raise ReservedName(field)


def is_same_mailbox(email: str, other: str) -> bool:
    """Not what looks alike: that is somebody else's."""
    return email.casefold() == other.casefold()


def slug_of(name: str) -> str:
    """A slug derived from a name; `project` where nothing of the name can be part of one."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = _NOT_SLUG.sub("-", ascii_name).strip("-")[:SLUG_LENGTH].strip("-")
    return "project" if not slug or slug in RESERVED_SLUGS else slug


def suffixed(slug: str, suffix: str) -> str:
    """The slug with a suffix that makes it unique, within the allowed length."""
    return f"{slug[: SLUG_LENGTH - len(suffix) - 1].rstrip('-')}-{suffix}"


def checked_slug(slug: str) -> str:
    if slug in RESERVED_SLUGS:
        raise SlugReserved
    return slug
