"""The kinds that there are."""

from typing import Any

from signalbox_common.contracts.base import Query, Reply
from signalbox_common.contracts.catalog.resources import Plural


class KindEntry(Reply):
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    api_version: str
    description: str
    refers_to: tuple[str, ...]


class KindList(Reply):
    items: tuple[KindEntry, ...]


class ListKinds(Query[KindList]):
    subject = "qry.catalog.v1.kinds"


class KindSchema(Reply):
    json_schema: dict[str, Any]


class GetSchema(Query[KindSchema]):
    """The JSON Schema of a kind's documents."""

    subject = "qry.catalog.v1.schema"
    refusals = {"kind_not_found": 404}

    plural: Plural
