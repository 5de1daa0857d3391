"""A link is read by who has made it, until its time is over."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from signalbox_gateway.errors import PreviewEnded
from signalbox_gateway.previews import Links


def test_it_says_what_was_written_until_it_ends() -> None:
    links, sandbox = Links("a key"), uuid.uuid4()
    soon, past = (datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (60, -1))
    found = links.read(links.make("token", sandbox, 8000, soon))
    assert (found.token, found.sandbox, found.port) == ("token", sandbox, 8000)
    with pytest.raises(PreviewEnded):
        links.read(links.make("token", sandbox, 8000, past))
    with pytest.raises(PreviewEnded):
        Links("another key").read(links.make("token", sandbox, 8000, soon))


@pytest.mark.parametrize("text", ["", "x", "=", "A" * 40, "A" * 41, "é", "%00"])
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(PreviewEnded):
        Links("a key").read(text)
