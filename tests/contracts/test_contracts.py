"""What the services owe each other, and the rules that every contract keeps."""

import json
import re
import uuid
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from signalbox_auth.settings import AuthSettings
from signalbox_catalog.settings import CatalogSettings
from signalbox_cli.provision.permissions import of_user
from signalbox_common.contracts import auth, base, events, health, streams
from signalbox_common.contracts.base import (
    REGISTRY,
    Ask,
    Command,
    ContractError,
    Empty,
    Query,
    Reply,
    Request,
)
from signalbox_common.contracts.events import Event
from signalbox_common.programs import OWNERS
from signalbox_common.settings import OwnerSettings, ServiceSettings
from signalbox_gateway.settings import GatewaySettings
from tools.references.openapi import openapi
from tools.references.schemas import schemas


def test_a_contract_says_its_subject_in_the_right_form() -> None:
    for subject in (
        "cmd.auth.create",
        "cmd.auth.v1.Create",
        "qry.auth.v1.x",
        "cmd.auth.v1.*",
        "cmd.a.b.v1.c",
    ):
        with pytest.raises(ContractError):
            type("Wrong", (Command[Empty],), {"subject": subject, "__module__": __name__})
    with pytest.raises(ContractError):
        type("Wrong", (Event,), {"subject": "evt.x.auth.user.made", "__module__": __name__})


class Key(Reply):
    name: str
    value: SecretStr | None = None


class KeyRing(Reply):
    keys: tuple[Key, ...] = ()


def test_no_secret_goes_into_a_stream() -> None:
    with pytest.raises(ContractError, match="make it an Ask"):

        class Secretive(Command[Empty]):
            subject = "cmd.auth.v1.secretive"

            keys: dict[str, list[Key]]

    with pytest.raises(ContractError, match="tell a secret to whoever reads events"):

        class SecretTold(Event):
            subject = "evt.*.auth.secret.told"

            ring: KeyRing | None = None


def test_only_asks_are_answered_with_secrets() -> None:
    with pytest.raises(ContractError, match="answered with a secret"):

        class MakeKey(Command[Key]):
            subject = "cmd.auth.v1.make-key"

    with pytest.raises(ContractError, match="answered with a secret"):

        class GetKeys(Query[KeyRing]):
            subject = "qry.auth.v1.get-keys"


def test_the_audit_log_is_told_no_secret() -> None:
    with pytest.raises(ContractError, match="show password in the audit log"):

        class Whisper(Ask[Empty]):
            subject = "ask.auth.v1.whisper"
            target = "password"

            password: SecretStr


def test_two_contracts_cannot_share_a_subject() -> None:
    with pytest.raises(ContractError, match="belongs to"):

        class Another(Query[Empty]):
            subject = "qry.auth.v1.me"


def test_subjects_are_addressed_and_never_guessed() -> None:
    assert health.Health.subject_for("git") == "qry.git.v1.health"
    for nobody in (None, "gateway", "*", ">", "git.v1"):
        with pytest.raises(ContractError):
            health.Health.subject_for(nobody)


def test_secrets_travel_but_are_not_shown() -> None:
    ask = auth.Login(username="dev", password=SecretStr("hunter2"))
    assert json.loads(ask.encode())["password"] == "hunter2"
    assert "password" not in ask.public_body()
    assert "hunter2" not in repr(ask)
    with pytest.raises(ValidationError) as error:
        auth.Register.model_validate({"username": "x", "email": "x", "password": "hunter2"})
    assert "hunter2" not in str(error.value)


def test_readers_ignore_what_they_do_not_know() -> None:
    project = auth.CreateProject.model_validate_json('{"name": "x", "inventedLater": 7}')
    assert project.name == "x"


@pytest.mark.parametrize("service", OWNERS)
def test_one_durable_consumer_per_command(service: str) -> None:
    consumers = {c.subject: c.name for c in streams.Topology().consumers()}
    for command in base.contracts_of(Command):
        if command.owner() in (service, "*"):
            subject = command.subject_for(service)
            assert consumers[subject] == subject.removeprefix("cmd.").replace(".", "-")
    assert len(set(consumers.values())) == len(consumers)


def test_who_reads_a_fact_subscribes_to_what_its_contract_says() -> None:
    assert (streams.AUDIT.name, streams.AUDIT.subject) == ("auth-on-audit", "evt._.*.audit.recorded")
    gone = streams.PROJECT_GONE
    assert (gone.name, gone.subject) == ("catalog-on-project-gone", "evt.*.auth.project.deleted")
    with pytest.raises(ContractError, match="belongs to no project"):
        events.AuditRecorded.subject_in(uuid.uuid4(), "auth")
    assert events.AuditRecorded.subject_in(None, "auth") == "evt._.auth.audit.recorded"


def test_streams_refuse_what_would_lose_messages() -> None:
    by_name = {stream.name: stream for stream in streams.STREAMS}
    assert by_name["COMMANDS"].work_queue
    assert by_name["COMMANDS"].discard_new
    assert by_name["COMMANDS"].max_age == 0
    assert by_name["EVENTS"].duplicate_window == 600
    assert [s.name for s in streams.STREAMS if s.allow_delete] == ["DEAD_LETTERS"]


def test_permissions_follow_from_the_contracts() -> None:
    auth_rights = of_user("auth")
    assert auth_rights.publish is not None
    assert "evt.*.auth.>" in auth_rights.publish
    assert "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.auth-v1-create-project" in auth_rights.publish
    assert not any("tasks" in subject for subject in auth_rights.publish)
    with pytest.raises(ValueError, match="no user"):
        of_user("mallory")


def test_openapi_shows_what_the_contracts_say() -> None:
    document = openapi()
    create = document["paths"]["/api/v1/projects"]["post"]
    assert set(create["responses"]) >= {"201", "202", "401", "409", "422", "503"}
    assert document["components"]["schemas"]["Project"] == {"$ref": "schemas.json#/$defs/Project"}
    assert set(schemas()["$defs"]["Project"]["properties"]) == {
        "id",
        "name",
        "slug",
        "description",
        "role",
        "createdAt",
        "updatedAt",
        "personal",
    }
    for path, operations in document["paths"].items():
        assert path in ("/", "/health", "/info") or path.startswith(
            ("/api/v1/", "/.well-known/", "/preview/")
        ), path
        for operation in operations.values():
            assert operation["responses"]


def test_every_request_has_a_reply() -> None:
    for contract in REGISTRY.values():
        if issubclass(contract, Request):
            assert issubclass(contract.reply, base.Reply), contract


OF_THE_NATIVE_STACK = frozenset(
    {
        *(f"SIGNALBOX_{server}_SERVER" for server in ("POSTGRES", "REDIS", "NATS")),
        "SIGNALBOX_UNPRIVILEGED_USER",
        "SIGNALBOX_SANDBOX_UID",
        "SIGNALBOX_GATEWAY_WORKERS",  # containers are more where `docker compose up --scale` says so
        "SIGNALBOX_AUTH_INSTANCES",
        "SIGNALBOX_AUTH_HEALTH_PORT",
        "SIGNALBOX_INSTANCE",  # of two containers it would be the same
        "SIGNALBOX_URL",
        "SIGNALBOX_TOKEN",
        "SIGNALBOX_CONFIG_DIR",
    }
)
"""What containers have no use for."""


def test_every_setting_reaches_containers() -> None:
    example = Path(".env.example").read_text(encoding="utf-8")
    compose = yaml.safe_load(Path("docker-compose.yml").read_text(encoding="utf-8"))
    reached = {
        name
        for service in compose["services"].values()
        for given in service.get("environment", {})
        for name in (given, given.removesuffix("_FILE"))
    }
    wanted = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    assert len(wanted) > 50
    assert wanted - reached - OF_THE_NATIVE_STACK == {"SIGNALBOX_PORT"}  # where the port is published
    assert reached.isdisjoint(OF_THE_NATIVE_STACK)


def test_every_setting_is_in_the_example_file() -> None:
    text = Path(".env.example").read_text(encoding="utf-8")
    for kind in (ServiceSettings, OwnerSettings, AuthSettings, CatalogSettings, GatewaySettings):
        for name, field in kind.model_fields.items():
            if name in {"service", "health_fd", "listen_fd"}:
                continue  # given by whoever starts the process
            alias = field.validation_alias
            variable = alias if isinstance(alias, str) else f"SIGNALBOX_{name.upper()}"
            assert variable in text, f"{variable} is missing in .env.example"
