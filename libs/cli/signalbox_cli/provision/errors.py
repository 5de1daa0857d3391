"""What provisioning refuses."""


class ProvisionError(Exception):
    """Says in one sentence why, and what to do."""
