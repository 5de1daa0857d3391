"""The tables of the schema `auth`."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

SCHEMA = "auth"
_metadata = MetaData(schema=SCHEMA)


def _time(name: str) -> Column[Any]:
    return Column(name, DateTime(timezone=True))


def _uuid(name: str, *, key: bool = False) -> Column[Any]:
    return Column(name, UUID(as_uuid=True), primary_key=key)


users = Table(
    "users",
    _metadata,
    _uuid("id", key=True),
    Column("username", Text),
    Column("username_folded", Text),
    Column("email", Text),
    Column("email_folded", Text),
    Column("display_name", Text),
    Column("role", Text),
    Column("password_hash", Text),
    _time("created_at"),
    Column("kind", Text),
    Column("version", BigInteger),
    _time("deactivated_at"),
    _uuid("home_project"),
    Column("email_confirmed", Boolean),
)
projects = Table(
    "projects",
    _metadata,
    _uuid("id", key=True),
    Column("name", Text),
    Column("slug", Text),
    Column("description", Text),
    _uuid("created_by"),
    _time("created_at"),
    _time("updated_at"),
    _uuid("personal_of"),
    _time("deleted_at"),
)
members = Table(
    "members",
    _metadata,
    _uuid("project_id", key=True),
    _uuid("user_id", key=True),
    Column("role", Text),
    _time("added_at"),
)
signing_keys = Table(
    "signing_keys",
    _metadata,
    Column("kid", Text, primary_key=True),
    Column("sealed", LargeBinary),
    _time("created_at"),
    Column("state", Text),
    Column("public", LargeBinary),
    _time("retired_at"),
    Column("distrusted", Boolean),
)
sessions = Table(
    "sessions",
    _metadata,
    _uuid("id", key=True),
    _uuid("user_id"),
    Column("client", Text),
    Column("address", Text),
    _time("created_at"),
    _time("last_used_at"),
    _time("expires_at"),
    Column("generation", BigInteger),
    Column("refresh_hash", LargeBinary),
    _time("rotated_at"),
    _time("revoked_at"),
    Column("reason", Text),
)
api_tokens = Table(
    "api_tokens",
    _metadata,
    _uuid("id", key=True),
    _uuid("user_id"),
    Column("name", Text),
    Column("hash", LargeBinary),
    Column("hint", Text),
    Column("scopes", ARRAY(Text)),
    _time("expires_at"),
    _time("created_at"),
    _uuid("created_by"),
    _time("last_used_at"),
    _time("revoked_at"),
)
devices = Table(
    "devices",
    _metadata,
    Column("device_hash", LargeBinary, primary_key=True),
    Column("user_code", Text),
    Column("client_name", Text),
    Column("address", Text),
    Column("agent", Text),
    _time("requested_at"),
    _time("expires_at"),
    Column("interval_seconds", Integer),
    _time("polled_at"),
    Column("approved", Boolean),
    _uuid("user_id"),
)
attempts = Table(
    "attempts",
    _metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("failures", Integer),
    _time("last_failed_at"),
    _time("blocked_until"),
)
known_places = Table(
    "known_places",
    _metadata,
    _uuid("user_id", key=True),
    Column("address", Text, primary_key=True),
    _time("seen_at"),
)
invitations = Table(
    "invitations",
    _metadata,
    _uuid("id", key=True),
    Column("email", Text),
    _uuid("project_id"),
    Column("role", Text),
    _uuid("invited_by"),
    _time("created_at"),
    _time("expires_at"),
    _uuid("used_by"),
    _time("revoked_at"),
)
links = Table(
    "links",
    _metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("purpose", Text),
    _uuid("user_id"),
    _uuid("invitation_id"),
    Column("mailed", Boolean),
    _time("expires_at"),
)
letters = Table(
    "letters",
    _metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("job", BigInteger),
    _time("sent_at"),
)
delegations = Table(
    "delegations",
    _metadata,
    _uuid("id", key=True),
    Column("hash", LargeBinary),
    Column("service", Text),
    _uuid("user_id"),
    _uuid("project_id"),
    Column("run", Text),
    Column("verbs", ARRAY(Text)),
    Column("role_needed", Text),
    _uuid("token_id"),
    Column("scopes", ARRAY(Text)),
    _time("created_at"),
    _time("expires_at"),
    _time("revoked_at"),
)
audit = Table(
    "audit",
    _metadata,
    Column("sequence", BigInteger, primary_key=True),
    _uuid("id"),
    _time("at"),
    Column("action", Text),
    Column("outcome", Text),
    Column("code", Text),
    _uuid("actor"),
    Column("actor_name", Text),
    Column("credential", Text),
    Column("act", Text),
    Column("resource", Text),
    _uuid("project"),
    Column("address", Text),
    Column("correlation_id", Text),
    Column("operation", Text),
    Column("hash", LargeBinary),
)
audit_head = Table(
    "audit_head",
    _metadata,
    Column("one", Boolean, primary_key=True),
    Column("sequence", BigInteger),
    Column("hash", LargeBinary),
)
