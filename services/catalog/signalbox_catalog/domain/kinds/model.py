"""Models: which provider's model answers, and with which parameters."""

from typing import Any

from pydantic import Field

from signalbox_catalog.domain.kinds.base import Document, Kind, NumberOrText, Part, Spec


class ModelConfiguration(Part):
    env: dict[str, Any] | None = Field(
        default=None,
        description="`model` (the provider), `model_id`, `base_url`, `api_key`. Keys go to the secret store.",
    )
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)


class ModelSpec(Spec):
    """Which provider's model answers, and with which parameters."""

    # Pydantic keeps the name model_config for itself.
    configuration: ModelConfiguration = Field(alias="modelConfig")
    protocol: str | None = None
    api_format: str | None = None
    model_type: str | None = None
    is_custom_config: bool | None = None
    model_group: str | None = None
    cost_index: NumberOrText | None = None
    description: str | None = None


_INTO_ENV = {"provider": "model", "model": "model_id", "baseUrl": "base_url", "apiKey": "api_key"}
_INTO_CONFIG = ("temperature", "maxTokens")


def canonical(spec: Document) -> Document:
    """`provider`, `model`, `temperature` and `maxTokens` are taken beside `modelConfig`, too."""
    given = {name for name in (*_INTO_ENV, *_INTO_CONFIG) if name in spec}
    configuration = spec.get("modelConfig", {})
    if not given or not isinstance(configuration, dict):
        return spec
    environment = configuration.get("env") or {}
    if not isinstance(environment, dict):
        return spec
    into_env = {_INTO_ENV[name]: spec[name] for name in _INTO_ENV if name in given}
    into_config = {name: spec[name] for name in _INTO_CONFIG if name in given}
    written_out = configuration | into_config | ({"env": environment | into_env} if into_env else {})
    return {name: value for name, value in spec.items() if name not in given} | {"modelConfig": written_out}


KIND = Kind(
    name="Model",
    plural="models",
    description=ModelSpec.__doc__ or "",
    spec=ModelSpec,
    short_names=("mo",),
    canonical=canonical,
    replaces={name: ("modelConfig", "env", whole) for name, whole in _INTO_ENV.items()}
    | {name: ("modelConfig", name) for name in _INTO_CONFIG},
)
