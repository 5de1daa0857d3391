"""What goes in and comes out of a preview: by name, and where a redirection leads."""

import pytest
from starlette.requests import Request

from signalbox_gateway.previews import Target, headers_in, moved

TARGET = Target(3000, "/a/page?x=1", "/preview/link", "box.example:8000")


@pytest.mark.parametrize(
    ("location", "led"),
    [
        ("/there?a=1#b", "/preview/link/there?a=1#b"),
        ("there", "/preview/link/a/there"),
        ("../../../../api/v1/x", "/preview/link/api/v1/x"),
        ("http://localhost:3000/x", "/preview/link/x"),
        ("http://127.0.0.1:3000", "/preview/link/"),
        ("http://localhost:3000//evil.example/", "/preview/link//evil.example/"),
        ("http://localhost:3001/x", "http://localhost:3001/x"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("//elsewhere.example/x", "http://elsewhere.example/x"),
        ("http://box.example:8000/api/v1/sandboxes", None),
        ("//box.example:8000/api/v1/sandboxes", None),
        ("http://[", None),
    ],
)
def test_a_redirection_leads_nowhere_else_of_ours(location: str, led: str | None) -> None:
    found = moved(location.encode(), TARGET)
    assert (found.decode() if found is not None else None) == led


def test_nothing_that_says_who_looks_goes_in() -> None:
    secret = (
        *(
            "authorization",
            "cookie",
            "referer",
            "x-forwarded-for",
            "x-forwarded-email",
            "x-auth-request-user",
        ),
        *("cf-connecting-ip", "cf-access-jwt-assertion", "x-amzn-oidc-data", "true-client-ip", "traceparent"),
        *("sec-fetch-site", "x-real-ip", "x-csrf-token", "forwarded", "x-goog-iap-jwt-assertion"),
    )
    raw = [(name.encode(), b"secret") for name in secret]
    raw += [(b"x-kept", "grüße".encode()), (b"origin", b"https://box.example")]
    request = Request({"type": "http", "headers": raw})
    found = dict(headers_in(request.headers.items(), TARGET))
    assert b"secret" not in found.values()
    assert found[b"x-kept"] == "grüße".encode()
    assert found[b"origin"] == b"http://localhost:3000"
    assert found[b"host"] == b"localhost:3000"
