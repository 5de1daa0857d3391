"""Ghosts: what an agent is told, and the tools and skills that it has."""

from collections.abc import Iterator

from pydantic import Field

from signalbox_catalog.domain.kinds.base import Kind, McpServer, Part, Reference, Spec


class SkillRef(Part):
    """Which skill a name stands for."""

    namespace: str | None = Field(default=None, max_length=63)
    is_public: bool = Field(default=False, alias="is_public")


class GhostSpec(Spec):
    """What an agent is told, and the tools and skills that it has."""

    system_prompt: str = Field(description="What the agent is told before anything else.")
    mcp_servers: dict[str, McpServer] | None = Field(
        default=None, description="Tool servers by name. Keys in their environments go to the secret store."
    )
    skills: list[str] | None = Field(default=None, description="Skills by name.")
    preload_skills: list[str] | None = Field(
        default=None, alias="preload_skills", description="Those of the skills that are read at the start."
    )
    skill_refs: dict[str, SkillRef] | None = Field(
        default=None, alias="skill_refs", description="In which namespace a skill is, where it is elsewhere."
    )
    description: str | None = None

    def references(self) -> Iterator[Reference]:
        for number, name in enumerate(self.skills or ()):
            where = (self.skill_refs or {}).get(name, SkillRef())
            if not where.is_public:  # those come with the platform that the file is from
                at = ("skill_refs", name, "namespace")
                yield Reference(f"skills.{number}", "Skill", name, where.namespace or None, at)


KIND = Kind(
    name="Ghost",
    plural="ghosts",
    description=GhostSpec.__doc__ or "",
    spec=GhostSpec,
    short_names=("gh",),
    refers_to=frozenset({"Skill"}),
)
