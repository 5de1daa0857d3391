"""What is forked. Nothing is imported for it here, so that the fork server can start before all else."""

PROVISION = "signalbox_cli.provision.program"
MODULES = {
    "gateway": "signalbox_gateway.app",
    "auth": "signalbox_auth.app",
    "catalog": "signalbox_catalog.app",
    "tasks": "signalbox_tasks.app",
    "sandbox": "signalbox_sandbox.app",
    "git": "signalbox_git.app",
    "fanout": "signalbox_gateway.fanout.app",
}
"""By program, in the order in which they are started."""
AT_FIRST_USE = "anyio._core._sockets"
"""What each would import for itself as soon as it runs."""
