"""Skills: packaged know-how."""

from typing import Any

from pydantic import Field

from signalbox_catalog.domain.kinds.base import Kind, McpServer, NumberOrText, Part, Spec


class SkillTool(Part):
    name: str
    provider: str | None = None


class SkillSpec(Spec):
    """Packaged know-how: what an agent reads when it needs it, and the files that go with it."""

    description: str = Field(description="When the skill is of use.")
    prompt: str | None = None
    version: NumberOrText | None = None
    author: str | None = None
    tags: list[str] | None = None
    bind_shells: list[str] | None = Field(default=None, description="Types of shells that it is for.")
    mcp_servers: dict[str, McpServer] | None = None
    tools: list[SkillTool] | None = None
    provider: dict[str, Any] | None = None
    source: dict[str, Any] | None = None


KIND = Kind(
    name="Skill",
    plural="skills",
    description=SkillSpec.__doc__ or "",
    spec=SkillSpec,
    short_names=("sk",),
)
