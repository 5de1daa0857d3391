"""Addresses of repositories: what is taken, and what cannot mean anything else than it says."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_common.remote_urls import BadUrl, Scheme, parse

GOOD = {
    "https://github.com/owner/name.git": "https://github.com/owner/name.git",
    "https://GitHub.com./owner/name/": "https://github.com/owner/name",
    "HTTPS://github.com:443/owner/name": "https://github.com/owner/name",
    "https://forge.example:8443/~me/a%20b.git": "https://forge.example:8443/~me/a%20b.git",
    "http://[2001:db8::1]:3000/a/b": "http://[2001:db8::1]:3000/a/b",
    "ssh://git@github.com/owner/name.git": "ssh://git@github.com/owner/name.git",
    "ssh://git@forge.example:2222/owner/name": "ssh://git@forge.example:2222/owner/name",
    "git@github.com:owner/name.git": "git@github.com:owner/name.git",
    "forge.example:name": "forge.example:name",
    "/srv/git/name.git": "/srv/git/name.git",
    "/srv//git/./name.git/": "/srv/git/name.git",
    "/srv/-name": "/srv/-name",
}
BAD = [
    "",
    "name",
    "./name",
    "file:///etc",
    "ext::sh -c touch%20/tmp/canary",
    "ext::sh",
    "git://github.com/owner/name",
    "ftp://host/path",
    "fd::17/foo",
    "-oProxyCommand=touch",
    "--upload-pack=touch",
    "https://-oProxyCommand=x/a",
    "ssh://-oProxyCommand=x/a",
    "ssh://git@-oProxyCommand=x/a",
    "ssh://-oProxyCommand@host/a",
    "git@host:-a",
    "git@host:a/../b",
    "git@host:/a",
    "https://user:password@host/a",
    "https://token@host/a",
    "https://host",
    "https://host/",
    "https://host//a",
    "https://host/a/../b",
    "https://host/a/./b",
    "https://host/%2e%2e/b",
    "https://host/%2E%2E/b",
    "/",
    "https://host/a%0ab",
    "https://host/a%2fb",
    *(
        f"https://host/a%{code}b"
        for code in ("00", "0A", "1F", "25", "2E", "2F", "5C", "7F", "80", "C3", "FF")
    ),
    "https://host/a\\b",
    "https://host\\@other/a",
    "https://host/a?b=c",
    "https://host/a#b",
    "https://host/a b",
    "https://host/a\nb",
    "https://host/a\0b",
    "https://host:0/a",
    "https://host:99999/a",
    "https://host:/a:b:",
    "https://0x7f000001/a",
    "https://2130706433/a",
    "https://127.1/a",
    "https://[::1%25lo]/a",
    "https://hőst/a",
    "/srv/../etc",
    "//host/share",
    "https://host/" + "a" * 2000,
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_taken_has_one_form(text: str) -> None:
    assert str(parse(text)) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(BadUrl):
        parse(text)


@given(st.text(st.sampled_from(string.printable + "é\0"), max_size=60))
def test_whatever_is_taken_stays_as_it_is(text: str) -> None:
    _check(text)


PIECES = [
    "https://",
    "ssh://",
    "http://",
    "file://",
    "ext::",
    "git@",
    "host",
    "-o",
    "..",
    "/",
    ":",
    "@",
    "%2e",
]


@given(st.lists(st.sampled_from([*PIECES, "%", "a", "1", "[::1]", ".", "~", " ", "\n"]), max_size=9))
def test_whatever_it_is_made_of(pieces: list[str]) -> None:
    _check("".join(pieces))


def _check(text: str) -> None:
    try:
        url = parse(text)
    except BadUrl:
        return
    assert parse(str(url)) == url
    assert not str(url).startswith("-")
    parts = url.path.strip("/").split("/")
    assert not any(part in ("", ".", "..") for part in parts)
    if url.scheme is not Scheme.LOCAL:
        assert not any(part.startswith("-") for part in (url.host, *parts))
        assert url.host
