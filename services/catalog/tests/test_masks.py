"""Which values inside a spec are credentials."""

import copy
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_catalog.domain.jsons import Json, Scalar, split
from signalbox_catalog.domain.masks import MASK, carriers, mask, unmasked
from signalbox_catalog.errors import BadInput

LOOK_LIKE_CREDENTIALS = [
    "sk-1234567890abcdef",
    "sk-ant-api03-abc_DEF",
    "sk_live_abc",
    "rk_live_abc",
    *(f"gh{letter}_abc123" for letter in "pousr"),
    "github_pat_11ABC_def",
    "glpat-abc-123",
    "xoxb-1-2-abc",
    "xoxp-1-2-abc",
    "xoxa-2-abc",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "AIzaSyA-1234567890",
    "hf_abcdefghijklmnop",
    "npm_abcdefghijklmnop",
    "pypi-AgEIcHlwaS5vcmc",
    "sbx_pat_abcdefgh",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE KEY-----\nMIIE",
    "Bearer abc",
    "bearer abc",
    "Basic dXNlcjpwYXNz",
    "Basic dXNlcjpwYXM=",
    "Authorization: Bearer abc",
    "postgres://user:pass@host/db",
    "redis://:pass@host",
    "https://user:p%40ss@host:8080/?a=b",
    "https://ghp_abc123@github.com/a/b",
    "  ghp_abc123\n",
]
PLACEHOLDERS = [
    "${NAME}",
    "${env:NAME}",
    "${input:github-token}",
    "$NAME",
    "{{ name }}",
    "${{ secrets.NAME }}",
    "<your key>",
    "%NAME%",
    "Bearer ${NAME}",
    "Bearer {{token}}",
    "Basic <credentials>",
    " ${NAME} ",
]
HARMLESS = [
    *("", "  ", "openai", "claude-sonnet-4", "1", "sk-SK", "sk-learn", "hf_transfer", "pypi-server"),
    *("npm_config_registry", "https://host:8080/@scope/x", "https://host/v1", "mailto:a@b"),
    *("postgres://user:${PASSWORD}@host/db", "postgres://user@host/db", "-----BEGIN PUBLIC KEY-----"),
    *("use the bearer token to sign in", "a basic idea", "eyJhbGciOiJub25lIn0"),
]
CREDENTIAL_NAMES = [
    *("token", "TOKEN", "githubToken", "GITHUB_TOKEN", "github-token", "github.token", "accesstoken"),
    *("secret", "clientSecret", "client_secret2", "password", "PGPASSWORD", "dbPasswd", "passphrase", "pwd"),
    *("credential", "credentials", "apikey", "apiKey", "api_key", "API-Key", "APIKey", "OPENAI_API_KEY"),
    *("X-Api-Key", "api.key", "accessKey", "secret_key", "privateKey", "auth_key", "signingKey"),
    *("encryption_key", "serviceKey", "account_key", "masterKey", "LICENSE_KEY", "apiKey1", "API_KEY_2"),
    *("authorization", "Proxy-Authorization", "pat", "githubPat", "GITHUB_PAT", "Cookie", "Set-Cookie"),
    *("jwt", "userJwt", "dsn", "SENTRY_DSN", "OAuthToken"),
]
OTHER_NAMES = [
    *("maxTokens", "max_tokens", "maxToken", "max_output_tokens", "tokens", "tokenizer", "tokenLimit"),
    *("keyboard", "primaryKey", "publicKey", "public_key", "secretRef", "secretName", "tokenName"),
    *("passwordFile", "apiKeyName", "compat", "pattern", "path", "model", "", "name", "_", "42", "secretary"),
]
ENVIRONMENTS = [
    *("env", "ENV", "environment", "envs", "headers", "http_headers", "httpHeaders", "HTTP-Headers"),
    *("extra_headers", "extraHeaders", "auth", "credentials"),
]
NAMES_IN_ENVIRONMENTS = [
    *(
        "KEY_1",
        "TOKEN_GITHUB",
        "key",
        "SECRET_OF_MINE",
        "PASSWORD_OLD",
        "SSH_KEY",
        "AUTH",
        "BASIC_AUTH_PLAIN",
    ),
    *("PAT_GITHUB", "COOKIE_JAR", "CREDENTIALS_JSON", "API_TOKENS", "keyId2Key", "dbPasswdOld"),
]
UNKNOWN_NAMES_IN_ENVIRONMENTS = [
    *("PUBLIC_KEY", "SSH_PUBLIC_KEY", "TOKENS", "tokenLimit", "PIN", "x", "", "42", "SEED_PHRASE"),
    *("TOKEN_PATH", "KEY_FILE", "AUTH_URL", "TOKEN_URI", "SECRET_NAME", "AWS_ACCESS_KEY_ID", "secretRef"),
    *("KEYBOARD", "AUTHOR", "PATTERN", "DATABASE_URL", "HTTP_PROXY", "X-Thing", "SERVICE"),
]
SHOWN_NAMES_IN_ENVIRONMENTS = [
    *("LANG", "LC_ALL", "TZ", "PATH", "NODE_ENV", "node-env", "DEBUG", "Content-Type", "Accept"),
    *("MAX_TOKENS", "CLAUDE_CODE_MAX_OUTPUT_TOKENS", "maxThinkingTokens", "model", "model_id", "modelId"),
    *("base_url", "baseUrl", "OPENAI_BASE_URL"),
]


def at(document: Json, place: str) -> Json:
    for step in split(place):
        document = document[int(step)] if isinstance(document, list) else document[step]  # type: ignore[index]
    return document


def found(spec: dict[str, Json]) -> dict[str, Any]:
    """The credentials, after everything that holds for each spec was seen to."""
    before = copy.deepcopy(spec)
    masked = mask(spec)
    assert spec == before
    assert unmasked(masked.spec, masked.found) == spec
    again = mask(masked.spec)
    assert again.spec == masked.spec
    assert again.found == {}
    assert again.kept == masked.found.keys() | masked.kept
    for place, value in masked.found.items():
        shown = at(masked.spec, place)
        assert isinstance(shown, str)
        assert isinstance(value, list) or re.fullmatch(r"(-{0,2}[\w.-]+(=|:\s*)){0,2}\*\*\*", shown)
        assert shown != value
    return dict(masked.found)


def test_an_agent() -> None:
    spec: dict[str, Json] = {
        "modelConfig": {
            "env": {"model": "openai", "model_id": "m1", "base_url": "https://x/v1", "api_key": "sk-1"},
            "apiKey": 12345,
            "maxTokens": 4096,
        },
        "mcpServers": {
            "gh": {
                "command": "docker",
                "args": ["run", "-i", "-e", "GITHUB_TOKEN", "-e", "SLACK_TOKEN=abc", "ghcr.io/x:1"],
                "env": {"GITHUB_TOKEN": "ghp_1", "DEBUG": "1", "HOME_URL": "https://u:p@h"},
                "headers": {"Authorization": "Bearer abc", "Accept": "*/*", "X-Auth": "${X}"},
            }
        },
    }
    assert found(spec) == {
        "/modelConfig/env/api_key": "sk-1",
        "/modelConfig/apiKey": 12345,
        "/mcpServers/gh/args/5": "abc",
        "/mcpServers/gh/env/GITHUB_TOKEN": "ghp_1",
        "/mcpServers/gh/env/HOME_URL": "https://u:p@h",
        "/mcpServers/gh/headers/Authorization": "Bearer abc",
    }
    masked: Any = mask(spec).spec
    assert masked["mcpServers"]["gh"]["args"][5] == "SLACK_TOKEN=***"
    assert masked["modelConfig"]["apiKey"] == MASK


@pytest.mark.parametrize("name", CREDENTIAL_NAMES)
@pytest.mark.parametrize("value", ["hunter2", 1234, 1.5, "1"])
def test_names_of_credentials_count_everywhere(name: str, value: Json) -> None:
    assert found({"deep": [{name: value}]}) == {f"/deep/0/{name}": value}


@pytest.mark.parametrize("name", OTHER_NAMES + NAMES_IN_ENVIRONMENTS[:1])
def test_other_names_do_not(name: str) -> None:
    assert found({"deep": [{name: "hunter2"}]}) == {}
    assert found({name: ["hunter2"]}) == {}


def test_what_is_neither_text_nor_number_is_no_credential() -> None:
    assert found({"token": True, "secret": None, "password": "", "deep": {"pwd": False}}) == {}


def test_below_the_name_of_a_credential_names_count_as_usual() -> None:
    assert found({"password": {"policy": "long", "token": "x"}}) == {"/password/token": "x"}


@pytest.mark.parametrize(
    "name", ["apiKeys", "api_keys", "access_keys", "secrets", "passwords", "credentials"]
)
def test_lists_of_credentials(name: str) -> None:
    spec: dict[str, Json] = {name: ["a", {"mode": "y", "jwt": "z"}, True, "b"]}
    assert found(spec) == {f"/{name}/0": "a", f"/{name}/1/jwt": "z", f"/{name}/3": "b"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environments(environment: str) -> None:
    inside: dict[str, Json] = {"SSH_KEY": "hunter2", "PLAIN": "x", "LANG": "C", "KEY_ID": 17, "TZ": "ghp_abc"}
    hidden = {"SSH_KEY": "hunter2", "PLAIN": "x", "KEY_ID": 17, "TZ": "ghp_abc"}
    expected = {f"/a/{environment}/{name}": value for name, value in hidden.items()}
    assert found({"a": {environment: inside}}) == expected


@pytest.mark.parametrize("text", ["A=b", "A: b", "A=b\nC=d", "user:pass"])
def test_environments_in_one_text(text: str) -> None:
    assert found({"env": text, "headers": text}) == {"/env": text, "/headers": text}
    assert found({"env": "production", "environment": "production", "auth": "oauth"}) == {}


@pytest.mark.parametrize("name", NAMES_IN_ENVIRONMENTS + CREDENTIAL_NAMES)
def test_names_in_environments(name: str) -> None:
    assert found({"env": {name: "hunter2"}}) == {f"/env/{name}": "hunter2"}
    assert found({"env": {"below": {name: "hunter2"}}}) == {f"/env/below/{name}": "hunter2"}
    assert found({"env": [{"name": name, "value": "hunter2"}]}) == {"/env/0/value": "hunter2"}
    assert found({"env": [{"key": name, "value": "hunter2"}]}) == {"/env/0/value": "hunter2"}


@pytest.mark.parametrize("name", UNKNOWN_NAMES_IN_ENVIRONMENTS)
@pytest.mark.parametrize("value", ["hunter2", "1", 1, "https://host/v1", "a b", "staging"])
def test_unknown_names_in_environments(name: str, value: Json) -> None:
    """What is not known to be harmless is hidden, whatever it looks like."""
    assert found({"env": {name: value}}) == {f"/env/{name}": value}
    assert found({"env": {"below": {name: [value]}}}) == {f"/env/below/{name}/0": value}
    assert found({"env": [{"name": name, "value": value}]}) == {"/env/0/value": value}
    assert found({"env": [{"name": name, "default": value}]}) == {"/env/0/default": value}
    if re.fullmatch(r"[A-Za-z_][\w.-]*", name) and isinstance(value, str):
        assert found({"env": [f"{name}={value}"]}) == {"/env/0": value}
        assert found({"args": ["run", "-e", f"{name}={value}"]}) == {"/args/2": value}
        assert found({"args": ["run", f"--env={name}={value}"]}) == {"/args/1": value}
        assert found({"args": ["-H", f"{name}: {value}"]}) == {"/args/1": value}


@pytest.mark.parametrize("name", SHOWN_NAMES_IN_ENVIRONMENTS)
def test_shown_names_in_environments(name: str) -> None:
    for value in ("hunter2", "1", "https://host/v1"):
        assert found({"env": {name: value}}) == {}
        assert found({"env": [f"{name}={value}"]}) == {}
        assert found({"env": [{"name": name, "value": value}]}) == {}
        assert found({"args": ["-e", f"{name}={value}", f"--env={name}={value}"]}) == {}
    assert found({"env": {name: "ghp_abc123"}}) == {f"/env/{name}": "ghp_abc123"}


def test_names_of_variables_alone_are_no_values() -> None:
    assert found({"env": ["GITHUB_TOKEN", "PIN"], "args": ["-e", "GITHUB_TOKEN"]}) == {}
    assert found({"env": ["AKIAIOSFODNN7EXAMPLE", "a b"]}) == {
        "/env/0": "AKIAIOSFODNN7EXAMPLE",
        "/env/1": "a b",
    }


@pytest.mark.parametrize("below", ["env", "args", "command", "Environment"])
def test_assignments(below: str) -> None:
    spec: dict[str, Json] = {
        below: [
            "A_TOKEN=a=b",
            "DEBUG=1",
            "X=ghp_abc",
            "--api-key=k",
            "Y_KEY=${Y}",
            "KEY_Z=",
            "X-Api-Key: k k",
        ]
    }
    assert found(spec) == {
        f"/{below}/0": "a=b",
        f"/{below}/2": "ghp_abc",
        f"/{below}/3": "k",
        f"/{below}/6": "k k",
    }
    assert mask(spec).spec == {
        below: ["A_TOKEN=***", "DEBUG=1", "X=***", "--api-key=***", "Y_KEY=${Y}", "KEY_Z=", "X-Api-Key: ***"]
    }
    assert mask({"args": ["--env=PIN=1234"]}).spec == {"args": ["--env=PIN=***"]}


# -- addresses ------------------------------------------------------------------------------------------

ADDRESSES: list[tuple[str, str, list[str]]] = [
    ("https://user:pass@host/x", "https://***@host/x", ["user:pass"]),
    ("https://token@host", "https://***@host", ["token"]),
    ("HTTP://token:@host", "HTTP://***@host", ["token:"]),
    ("https://user:p@ss@host/x?y=1", "https://***@host/x?y=1", ["user:p@ss"]),
    ("postgres://user:pass@host/db", "postgres://user:***@host/db", ["pass"]),
    ("redis://:pass@host", "redis://:***@host", ["pass"]),
    ("amqp://ghp_abc:x@host", "amqp://***@host", ["ghp_abc:x"]),
    ("https://host/x?api_key=abc&y=1", "https://host/x?api_key=***&y=1", ["abc"]),
    ("https://host/x?key=abc#access_token=d", "https://host/x?key=***#access_token=***", ["abc", "d"]),
    ("https://h/?X-Amz-Signature=abc", "https://h/?X-Amz-Signature=***", ["abc"]),
    ("https://a:b@h/?token=c", "https://***@h/?token=***", ["a:b", "c"]),
    (
        "clone https://a:b@h/x, or 'redis://:c@i'\nand **not** *** that",
        "clone https://***@h/x, or 'redis://:***@i'\nand **not** *** that",
        ["a:b", "c"],
    ),
]
PLAIN_ADDRESSES = [
    *("https://host/v1", "postgres://user@host/db", "ssh://git@host/x", "https://host:8080/@scope/x"),
    *("https://${TOKEN}@host", "https://user:${PASSWORD}@host", "https://host/?key=${KEY}&max_tokens=5"),
    *("https://user:<password>@host", "mailto:a@b", "://", "https://@host"),
]


@pytest.mark.parametrize(("text", "shown", "hidden"), ADDRESSES)
def test_credentials_in_addresses(text: str, shown: str, hidden: list[str]) -> None:
    spec: dict[str, Json] = {"systemPrompt": text, "deep": [{"x": text}], "env": {"base_url": text}}
    expected = {"/systemPrompt": hidden, "/deep/0/x": hidden, "/env/base_url": hidden}
    assert found(spec) == expected
    assert mask(spec).spec == {"systemPrompt": shown, "deep": [{"x": shown}], "env": {"base_url": shown}}
    assert found({"env": {"ANY": text}}) == {"/env/ANY": text}
    assert [part for part in carriers(shown) if "***" not in part] == []
    assert len(carriers(shown)) >= 1


@pytest.mark.parametrize("text", PLAIN_ADDRESSES)
def test_addresses_without_credentials(text: str) -> None:
    assert found({"systemPrompt": text, "url": text, "env": {"base_url": text}}) == {}
    assert carriers(text) == ()


def test_an_address_with_some_keys_kept_and_others_new_is_refused() -> None:
    with pytest.raises(BadInput, match="all of the keys, or none"):
        mask({"systemPrompt": "https://***@a https://u:p@b"})


def test_commands_with_other_credentials_are_hidden_as_a_whole() -> None:
    assert found({"command": "serve --api-key abc", "url": "/x?token=abc"}) == {
        "/command": "serve --api-key abc",
        "/url": "/x?token=abc",
    }


def test_what_may_itself_be_a_credential_is_not_left_in_front_of_the_equals_sign() -> None:
    assert found({"args": ["ghp_token=x", "Basic QWxhZGRpbg=="]}) == {
        "/args/0": "ghp_token=x",
        "/args/1": "Basic QWxhZGRpbg==",
    }


def test_what_follows_a_flag() -> None:
    spec: dict[str, Json] = {
        "args": [
            "--api-key",
            "hunter2",
            "--token",
            "--verbose",
            "--max-tokens",
            "5",
            "--password-file",
            "x",
            "y",
        ]
    }
    assert found(spec) == {"/args/1": "hunter2"}
    assert found({"other": ["--api-key", "hunter2"]}) == {}


def test_names_beside_their_values() -> None:
    assert found({"inputs": [{"name": "password", "value": "x"}, {"name": "KEY_1", "value": "x"}]}) == {
        "/inputs/0/value": "x"
    }
    assert found({"env": {"key": "x", "value": "y"}}) == {"/env/key": "x", "/env/value": "y"}


def test_references_only_name_things() -> None:
    reference: Json = {"secretKeyRef": {"name": "db", "key": "password"}}
    assert found({"env": [{"name": "PASSWORD", "valueFrom": reference}]}) == {}
    assert found({"env": {"GIT_REF": "ghp_abc", "COPIED_FROM": "sk-1234567890"}}) == {
        "/env/GIT_REF": "ghp_abc",
        "/env/COPIED_FROM": "sk-1234567890",
    }


@pytest.mark.parametrize("value", LOOK_LIKE_CREDENTIALS)
def test_values_that_look_like_credentials(value: str) -> None:
    assert found({"env": {"X": value}}) == {"/env/X": value}
    assert set(found({"args": ["run", value]})) == {"/args/1"}
    assert found({"args": [f"--x={value}"]}) == {"/args/0": value}
    if "://" not in value:
        assert found({"description": value, "systemPrompt": value}) == {}


@pytest.mark.parametrize("value", HARMLESS + PLACEHOLDERS)
def test_values_that_do_not(value: str) -> None:
    assert found({"env": {"LANG": value}, "args": [value, f"X={value}", f"--x={value}"]}) == {}


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_placeholders_are_no_credentials(value: str) -> None:
    spec: dict[str, Json] = {
        "apiKey": value,
        "headers": {"Authorization": value},
        "env": [f"A_TOKEN={value}", {"name": "TOKEN", "value": value}],
        "args": [f"--token={value}", "--token", value],
    }
    assert found(spec) == {}


@pytest.mark.parametrize("value", ["${A:-hunter2}", "$ecret", "${A}x", "x${A}", "Bearer ${A} x", "<a>b<c>"])
def test_what_only_begins_like_a_placeholder_is_one(value: str) -> None:
    assert found({"apiKey": value}) == {"/apiKey": value}


def test_stars_are_kept() -> None:
    spec: dict[str, Json] = {
        "apiKey": MASK,
        "plain": MASK,
        "args": ["A_TOKEN=***", "PLAIN=***", "X-Y: ***", MASK, "x***"],
        "env": {"a/b": MASK, "LANG": "Y=***"},
        "other": ["A_TOKEN=***"],
        "password": "new",
    }
    masked = mask(spec)
    assert masked.kept == {"/apiKey", "/plain", "/args/0", "/args/1", "/args/2", "/args/3", "/env/a~1b"}
    assert masked.found == {"/password": "new"}
    assert masked.spec == {**spec, "password": MASK}


def test_values_go_back_only_where_stars_are() -> None:
    spec: dict[str, Json] = {"a": MASK, "b": "x", "c": ["N=***", MASK], "d": MASK}
    values: dict[str, Scalar] = {"/a": 5, "/b": "no", "/c/0": 7, "/c/1": "y", "/gone/0": "z"}
    assert unmasked(spec, values) == {"a": 5, "b": "x", "c": ["N=7", "y"], "d": MASK}


def test_what_is_too_deep_is_refused() -> None:
    spec: dict[str, Json] = {}
    for _ in range(5000):
        spec = {"a": spec}
    with pytest.raises(BadInput, match="levels"):
        mask(spec)


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "eyJa.",
        "://",
        "://a:",
        "max_",
        "Bearer ",
        "<",
        "${",
        "{{",
        "x=",
        ": ",
        "-----BEGIN ",
        "sk-",
        "aA",
        " ",
    ],
)
def test_long_values_take_no_longer(part: str) -> None:
    long = part * (300_000 // len(part))
    started = time.process_time()
    mask({"env": {"X": long, long: "x", "TOKEN": long}, "args": [long, f"X={long}", f"X: {long}"]})
    assert time.process_time() - started < 5


NAMES = st.sampled_from(
    [
        *("a", "", "/", "~", "name", "value", "key", "args", "secretRef", "valueFrom", "apiKeys", "tokens"),
        *CREDENTIAL_NAMES[:6],
        *ENVIRONMENTS,
        *NAMES_IN_ENVIRONMENTS,
        *UNKNOWN_NAMES_IN_ENVIRONMENTS,
        *SHOWN_NAMES_IN_ENVIRONMENTS,
    ]
)
TEXTS = st.one_of(
    st.sampled_from(LOOK_LIKE_CREDENTIALS + PLACEHOLDERS + HARMLESS + ["--token", "--api-key", "-e"]),
    st.text(alphabet="aK=:/@-_ $*", max_size=6),
    NAMES,
)
ASSIGNMENTS = st.builds("{}{}{}".format, NAMES, st.sampled_from(["=", ":", ": ", " "]), TEXTS)


def specs(texts: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Json]]:
    scalars: st.SearchStrategy[Json] = st.one_of(
        texts, texts, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False)
    )
    below = st.recursive(
        scalars,
        lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(NAMES, below, max_size=4)),
        max_leaves=20,
    )
    return st.dictionaries(NAMES, below, max_size=4)


@given(specs(st.one_of(TEXTS, ASSIGNMENTS).filter(lambda text: MASK not in text)))
def test_nothing_is_lost_and_nothing_is_found_twice(spec: dict[str, Json]) -> None:
    found(spec)
    assert mask(spec).kept == frozenset()


@given(specs(st.one_of(TEXTS, ASSIGNMENTS, st.just(MASK), st.builds("{}=***".format, NAMES))))
def test_the_same_where_some_are_kept(spec: dict[str, Json]) -> None:
    masked = mask(spec)
    assert not masked.kept & masked.found.keys()
    again = mask(masked.spec)
    assert (again.spec, again.found) == (masked.spec, {})
    assert again.kept == masked.found.keys() | masked.kept
    assert mask(unmasked(masked.spec, masked.found)).found == masked.found
