"""How a service is, as each answers it."""

from pydantic import Field

from signalbox_common.contracts.base import GrantScope, Query, Reply


class HealthReport(Reply):
    """How one service is."""

    service: str
    status: str
    version: str
    instance: str
    checks: dict[str, str] = Field(default_factory=dict)
    degraded: dict[str, str] = Field(default_factory=dict)


class Health(Query[HealthReport]):
    subject = "qry.*.v1.health"
    grant = GrantScope.NONE
