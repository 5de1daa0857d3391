"""The parts of the stack runner that need no processes."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from signalbox_cli.provision.credentials import (
    Credentials,
    Endpoints,
    Publisher,
    nats_config,
    redis_acl,
    service_environment,
    write_service_files,
)
from signalbox_cli.provision.permissions import USERS
from signalbox_cli.secret_files import write_secret
from signalbox_cli.stack.child import Child
from signalbox_cli.stack.console import LogView, render
from signalbox_cli.stack.home import AlreadyRunning, Home
from signalbox_cli.stack.modules import MODULES
from signalbox_cli.stack.processes import execute
from signalbox_cli.stack.program import Program
from signalbox_cli.stack.servers import Nats
from signalbox_common.programs import OWNERS, PROGRAMS

ENDPOINTS = Endpoints(postgres="db:5432", redis="cache:6379", nats="bus:4222")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def test_one_supervisor_per_home(home: Home) -> None:
    assert not home.is_locked()
    with home.lock():
        assert home.is_locked()
        with pytest.raises(AlreadyRunning), home.lock():
            pass
    assert not home.is_locked()


def test_a_broken_state_is_no_state(home: Home) -> None:
    assert home.read_state() is None
    home.state_file.write_text("{broken")
    assert home.read_state() is None
    home.write_state({"phase": "ready"})
    assert home.read_state() == {"phase": "ready"}


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    write_secret(path, "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    before = path.stat().st_ino
    write_secret(path, "one")
    assert path.stat().st_ino == before, "what has not changed is left alone"
    write_secret(path, "two")
    assert path.read_text() == "two"


def test_credentials_are_made_once_and_completed(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = Credentials.load_or_make(path)
    assert Credentials.load_or_make(path) == first
    stored = json.loads(path.read_text())
    del stored["passwords"]["nats"]["git"]
    path.write_text(json.dumps(stored))
    completed = Credentials.load_or_make(path)
    assert completed.passwords["nats"]["git"]
    assert completed.passwords["nats"]["auth"] == first.passwords["nats"]["auth"]
    everything = [p for server in first.passwords.values() for p in server.values()]
    assert len(set(everything)) == len(everything) == 3 * len(USERS)


def test_a_file_of_an_earlier_version_is_read_and_completed(tmp_path: Path) -> None:
    """Publishers can be named before the next start has made what has come since."""
    path = tmp_path / "secrets.json"
    first = Credentials.load_or_make(path)
    stored = json.loads(path.read_text())
    del stored["root_key"]
    path.write_text(json.dumps(stored))
    earlier = Credentials.read(path)
    assert earlier.passwords == first.passwords
    earlier.save(path)
    completed = Credentials.load_or_make(path)
    assert completed.root_key not in ("", first.root_key)
    assert Credentials.read(path) == completed


def test_a_service_is_told_its_own_secrets_only(tmp_path: Path) -> None:
    credentials = Credentials.load_or_make(tmp_path / "secrets.json")
    write_service_files(tmp_path, credentials, ENDPOINTS)
    assert "DATABASE_URL_FILE" not in service_environment(tmp_path, "gateway")
    own = service_environment(tmp_path, "tasks")
    keys = {service: credentials.secret_key_of(service) for service in PROGRAMS}
    assert Path(own["SECRET_KEY_FILE"]).read_text() == keys["tasks"]
    assert len({keys[service] for service in OWNERS}) == len(OWNERS), "each has one of its own"
    text = "".join(Path(file).read_text() for file in own.values())
    for server, users in credentials.passwords.items():
        for user, password in users.items():
            assert (password in text) is (user == "tasks"), (server, user)
    assert credentials.database_url(ENDPOINTS, "tasks").startswith("postgresql://signalbox_tasks:")
    assert credentials.nats_url(Endpoints("a", "b", "nats://given:1"), "tasks") == "nats://given:1"


def test_servers_know_every_user(tmp_path: Path) -> None:
    credentials = Credentials.load_or_make(tmp_path / "secrets.json")
    config = nats_config(credentials, listen="127.0.0.1:4222", store="/data")
    acl = redis_acl(credentials)
    for user in USERS:
        assert f'"user": "{user}"' in config
        assert f"user {user} on" in acl
    assert "sync_interval: always" in config
    assert acl.startswith("user default off")


def test_services_outside_have_an_account_of_their_own(tmp_path: Path) -> None:
    credentials = Credentials.load_or_make(tmp_path / "secrets.json")
    project = "0a000000-0000-7000-8000-00000000000a"
    for name in ("ci", "lab"):
        credentials.publishers[name] = Publisher(project, "its password")
    config = nats_config(credentials, listen="127.0.0.1:4222", store="/data")
    ours, ci, lab = re.split(r"  OUTSIDE-\w+ {", config)
    for name, own, others in (("ci", ci, ours + lab), ("lab", lab, ours + ci)):
        assert f'"publisher-{name}"' in own
        assert f'"publisher-{name}"' not in others
        theirs = {"account": "SIGNALBOX", "subject": f"ext.publishers.{name}.{project}.>"}
        assert json.dumps({"service": theirs, "to": f"ext.{project}.>"}) in own
        assert '"gateway"' not in own


def test_streams_of_an_earlier_installation_move_into_the_account(tmp_path: Path) -> None:
    credentials = Credentials.load_or_make(tmp_path / "secrets.json")
    streams = tmp_path / "nats/jetstream/jetstream"
    (streams / "$G/streams/EVENTS").mkdir(parents=True)
    for _ in range(2):
        Nats(tmp_path / "nats", credentials).prepare()
        assert [folder.name for folder in streams.iterdir()] == ["SIGNALBOX"]
        assert (streams / "SIGNALBOX/streams/EVENTS").is_dir()


def test_log_lines_are_for_people() -> None:
    line = json.dumps(
        {
            "timestamp": "2026-01-02T03:04:05.678901Z",
            "level": "error",
            "event": "it broke",
            "subject": "cmd.x",
        }
    )
    shown = render("auth", line).plain
    assert "03:04:05.678" in shown
    assert "auth" in shown
    assert "it broke" in shown
    assert "subject=cmd.x" in shown
    assert "not json at all" in render("nats", "not json at all").plain
    assert "[7, 8]" in render("nats", "[7, 8]").plain


def test_the_log_view_shows_whole_lines_once_and_keeps_files_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(record=True, width=200)
    view = LogView(console, tmp_path)
    view.skip_to_end("auth")
    file = view.file("auth")
    file.write_text("first\nsec")
    view.show_new()
    with file.open("a") as more:
        more.write("ond\n")
    view.show_new()
    view.show_new()
    shown = console.export_text()
    assert shown.count("first") == 1
    assert shown.count("second") == 1
    monkeypatch.setattr("signalbox_cli.stack.console.ROTATE_AT", 4)
    with file.open("a") as more:
        more.write("third\n")
    view.show_new()
    assert file.stat().st_size == 0
    assert "third" in file.with_suffix(".log.1").read_text()
    quiet = LogView(console, tmp_path, quiet=True)
    quiet.skip_to_end("auth")
    with file.open("a") as more:
        more.write("fourth\n")
    quiet.show_new()
    assert "fourth" not in console.export_text()
    assert file.stat().st_size == 0, "what nobody looks at is cut, too"


def test_every_program_is_imported_before_it_is_forked() -> None:
    assert tuple(MODULES) == PROGRAMS


def test_the_supervisor_starts_the_fork_server_before_it_imports_for_long() -> None:
    look = "import sys, signalbox_cli.stack.supervisor; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert {"pydantic", "sqlalchemy", "nats", "asyncpg"}.isdisjoint(done.stdout.split())


def test_what_dies_is_started_at_once_unless_it_dies_over_and_over(home: Home) -> None:
    async def never() -> bool:
        return False

    child = Child(
        Program("x", "server", never, argv=["true"]),
        home,
        home.logs / "x.log",
        launch=execute,
        changed=lambda: None,
        say=lambda _text, _style: None,
    )
    pauses = [child._pause() for _ in range(10)]
    assert pauses[:2] == [0.0, 0.0]
    assert pauses[2:6] == [0.25, 0.5, 1.0, 2.0]
    assert max(pauses) == 2.0
