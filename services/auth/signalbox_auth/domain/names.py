"""Names: how they are compared, and the slugs that are made of them."""

import re
import unicodedata

from signalbox_auth.errors import SlugReserved

RESERVED_SLUGS = frozenset({"default"})
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
