"""The environment of the git service."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from signalbox_common.addresses import PrivateHosts
from signalbox_common.settings import QuotaSettings, SecretStoreSettings


class GitSettings(SecretStoreSettings, QuotaSettings):
    service: Literal["git"] = "git"
    git_root: Path = Path(".signalbox/repositories")
    """Below it lie repositories that may be given as paths on this machine."""
    mirrors: Path = Path(".signalbox/mirrors")
    """Where mirrors are kept, on a disk that all instances share."""
    trees: Path = Path(".signalbox/trees")
    """Where checkouts are prepared for sandboxes, on a disk that their nodes share."""
    changes: Path = Path(".signalbox/changes")
    """Where change sets are kept until they are delivered, on a disk that all instances share."""
    committer_name: str = "Signalbox"
    committer_email: str = "signalbox@localhost.localdomain"
    """Who commits what others have written."""
    mirrors_mb: int = Field(default=20_480, ge=1)
    """What all mirrors may take of the disk; those that nobody has used for longest go first."""
    repository_mb: int = Field(default=10_240, ge=1)
    """What is kept of one repository at most."""
    partial_mb: int = Field(default=1_024, ge=0)
    """Of what is larger, only those files are kept that somebody has needed; 0 keeps all of everything."""
    mirror_freshness: float = Field(default=30.0, ge=0)
    """Seconds after which whoever looks into a repository has it fetched again."""
    mirror_upkeep: float = Field(default=900.0, gt=0)
    """Seconds between two looks for mirrors that are worth packing together."""
    mirror_idle: float = Field(default=600.0, ge=0)
    """Seconds for which nobody has used a mirror that is packed."""
    prepare_freshness: float = Field(default=2.0, ge=0)
    """Seconds: a fetch that began so long before a checkout was asked for is good enough for it."""
    checkout_kept: float = Field(default=900.0, ge=0)
    """Seconds for which a checkout stays that neither a run nor a sandbox has."""
    checkout_mb: int = Field(default=10_240, ge=1)
    """What the files of one checkout may take."""
    checkout_sweep: float = Field(default=60.0, gt=0)
    """Seconds between two looks for those that may go."""
    sandbox_uid: int = Field(default=64_000, ge=1)
    """Whose sandboxes are outside, where this service is started by root: trees are theirs."""
    fetch_timeout: float = Field(default=900.0, gt=0)
    """Seconds that one fetch may take."""
    private_hosts: str = ""
    """Hosts and networks at private addresses that remotes may be at all the same, separated by commas."""
    git_ca_file: Path | None = None
    """Certificates of the authorities that remotes are checked with, if not those of the machine."""
    github_token: SecretStr | None = Field(default=None, validation_alias="GITHUB_TOKEN")
    """What the first administrator's personal project has for github.com, unless somebody sets another."""
    data_url: str | None = None
    """Where others reach the data plane of this instance, if that is not where it listens."""
    repositories_kept_days: int = Field(default=30, ge=1)
    """How long the records of deleted ones stay."""

    @field_validator("private_hosts")
    @classmethod
    def _are_hosts(cls, text: str) -> str:
        PrivateHosts.parse(text)
        return text

    def data_address(self) -> str:
        """As others are told of it."""
        listen = self.data_url or self.data_listen or ""
        return listen if listen.startswith(("unix:", "http:", "https:")) else f"http://{listen}"
