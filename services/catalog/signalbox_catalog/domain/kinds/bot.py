"""Bots: a ghost and a model in a shell."""

from collections.abc import Iterator

from signalbox_catalog.domain.kinds.base import Kind, Ref, Reference, Spec


class BotSpec(Spec):
    """A ghost and a model in a shell: an agent that can be given tasks."""

    ghost_ref: Ref
    shell_ref: Ref
    model_ref: Ref | None = None
    secondary_model_ref: Ref | None = None
    description: str | None = None

    def references(self) -> Iterator[Reference]:
        yield self.ghost_ref.to("Ghost", "ghostRef")
        yield self.shell_ref.to("Shell", "shellRef")
        if self.model_ref is not None:
            yield self.model_ref.to("Model", "modelRef")
        if self.secondary_model_ref is not None:
            yield self.secondary_model_ref.to("Model", "secondaryModelRef")


KIND = Kind(
    name="Bot",
    plural="bots",
    description=BotSpec.__doc__ or "",
    spec=BotSpec,
    refers_to=frozenset({"Ghost", "Shell", "Model"}),
)
