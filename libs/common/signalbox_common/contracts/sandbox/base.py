"""What the contracts of sandboxes have in common."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from signalbox_common.contracts.base import Text
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.roles import ProjectRole

AREA = "sandboxes"
"""What an API token's scope calls all this."""
DAY = 24 * 3600
MAX_ENVIRONMENT = 48 * 1024
"""Bytes of all names and values together."""

Lifetime = Annotated[int, Field(ge=1, le=30 * DAY)]
"""Seconds, counted by the node."""
VariableName = Annotated[
    Text, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
]


def _fits(env: dict[str, SecretStr]) -> dict[str, SecretStr]:
    values = [value.get_secret_value() for value in env.values()]
    if any("\0" in value for value in values):
        raise ValueError("an environment has no NUL characters")
    size = sum(len(text.encode(errors="surrogatepass")) + 1 for text in (*env, *values))
    if size > MAX_ENVIRONMENT:
        raise ValueError(f"an environment has at most {MAX_ENVIRONMENT} bytes")
    return env


Environment = Annotated[dict[VariableName, SecretStr], Field(max_length=500), AfterValidator(_fits)]


def data_route(method: str, path: str, does: str, role: ProjectRole = ProjectRole.DEVELOPER) -> DataRoute:
    return DataRoute(method, path, does, least_role=role, area=AREA)
