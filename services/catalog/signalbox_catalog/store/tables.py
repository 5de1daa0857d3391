"""The tables of the schema `catalog`, as its migrations make them."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID

SCHEMA = "catalog"
_metadata = MetaData(schema=SCHEMA)

namespaces = Table(
    "namespaces",
    _metadata,
    Column("project_id", UUID(as_uuid=True), primary_key=True),
    Column("slug", Text),
    Column("version", BigInteger),
    Column("floor", BigInteger),
    Column("gone", Boolean),
)
resources = Table(
    "resources",
    _metadata,
    Column("uid", UUID(as_uuid=True), primary_key=True),
    Column("project_id", UUID(as_uuid=True)),
    Column("kind", Text),
    Column("name", Text),
    Column("display_name", Text),
    Column("labels", JSONB),
    Column("annotations", JSONB),
    Column("spec", JSONB),
    Column("secrets", JSONB),
    Column("status", JSONB),
    Column("size", Integer),
    Column("generation", BigInteger),
    Column("version", BigInteger),
    Column("created_by", UUID(as_uuid=True)),
    Column("created_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
    Column("deleted_at", DateTime(timezone=True)),
)
labels = Table(
    "labels",
    _metadata,
    Column("project_id", UUID(as_uuid=True), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("uid", UUID(as_uuid=True)),
)
references = Table(
    "refs",
    _metadata,
    Column("from_uid", UUID(as_uuid=True), primary_key=True),
    Column("field", Text, primary_key=True),
    Column("to_uid", UUID(as_uuid=True)),
)
revisions = Table(
    "revisions",
    _metadata,
    Column("project_id", UUID(as_uuid=True), primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("uid", UUID(as_uuid=True)),
    Column("kind", Text),
    Column("change", Text),
    Column("generation", BigInteger),
    Column("labels_before", JSONB),
    Column("resource", JSONB),
    Column("size", Integer),
    Column("changed_by", UUID(as_uuid=True)),
    Column("changed_at", DateTime(timezone=True)),
)
