"""What a stack is told by the file beside it."""

import os
from pathlib import Path

import pytest

from signalbox_cli.env_file import read_env_file
from signalbox_cli.provision.credentials import Credentials, database_of, plain_postgres_url


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("SIGNALBOX_A=file  # a comment\nSIGNALBOX_B='b c'\nSIGNALBOX_C\n")
    monkeypatch.setenv("SIGNALBOX_A", "environment")
    monkeypatch.delenv("SIGNALBOX_B", raising=False)
    read_env_file(tmp_path)
    assert (os.environ["SIGNALBOX_A"], os.environ["SIGNALBOX_B"]) == ("environment", "b c")
    assert "SIGNALBOX_C" not in os.environ
    monkeypatch.delenv("SIGNALBOX_B")
    read_env_file(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "plain", "database"),
    [
        (
            "postgresql+asyncpg://a:b@h:1/agents?ssl=require",
            "postgresql://a:b@h:1/agents?ssl=require",
            "agents",
        ),
        ("postgres://host/my%20own", "postgresql://host/my%20own", "my own"),
        ("postgresql://host/postgres", "postgresql://host/postgres", "signalbox"),
        ("postgresql://host", "postgresql://host", "signalbox"),
    ],
)
def test_what_names_a_database(given: str, plain: str, database: str) -> None:
    assert plain_postgres_url(given) == plain
    assert database_of(given) == database


def test_programs_at_the_edge_know_no_key_of_others(tmp_path: Path) -> None:
    credentials = Credentials.load_or_make(tmp_path / "secrets.json")
    keys = {name: credentials.secret_key_of(name) for name in ("gateway", "fanout", "auth", "git", "tasks")}
    assert keys["gateway"] == keys["fanout"] != credentials.secret_key == keys["auth"]
    assert len(set(keys.values())) == 4
