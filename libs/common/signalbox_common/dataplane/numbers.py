"""Numbers in addresses and headers."""

from signalbox_common.errors import Invalid

_MOST = 2**63


def number_of(text: str, name: str) -> int:
    """An offset, or a fence."""
    if not text.isdecimal() or int(text) >= _MOST:
        raise Invalid(f"{name} is a number from 0.")
    return int(text)
