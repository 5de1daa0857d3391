"""`ETag` and `If-Match`: a change that is meant for one version of a thing.

The owner compares, in the transaction of the change, and its contract declares what it refuses with: 412
`precondition_failed` where only `If-Match` can name the version, 409 `version_conflict` for resources, whose
documents name it too (`metadata.resourceVersion`) and are refused in the same way for both.
"""

from typing import Annotated

from fastapi import Header
from starlette.responses import Response

from signalbox_gateway.errors import BadEtag

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=100,
        description="The `ETag` that the change is meant for; refused where it is not that any more.",
    ),
]
BAD_ETAG = (422, "bad_etag")
_LONGEST = 20


def version_of(if_match: str | None) -> str | None:
    """None where any version will do."""
    if if_match is None or if_match.strip() == "*":
        return None
    version = if_match.strip().removeprefix("W/").strip('"')
    if not (version.isascii() and version.isdecimal() and len(version) <= _LONGEST):
        raise BadEtag
    return version


def number_of(if_match: str | None) -> int | None:
    version = version_of(if_match)
    return None if version is None else int(version)


def tagged(response: Response, version: int | str) -> Response:
    response.headers["ETag"] = f'"{version}"'
    return response
