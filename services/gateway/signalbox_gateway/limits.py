"""How large the body of a request may be, where that is not what it is everywhere."""

import re

from signalbox_common.contracts.catalog import MAX_PACKAGE, MAX_TEXT

_ON_ROUTES = (
    (re.compile(r"/api/v1/apply"), MAX_TEXT),
    (re.compile(r"/api/v1/kinds/skills/[^/]+/package"), MAX_PACKAGE),
)


def of(path: str, usual: int) -> int:
    return next((limit for route, limit in _ON_ROUTES if route.fullmatch(path)), usual)
