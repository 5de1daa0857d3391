"""What a person is told."""


class Mistake(Exception):
    """Carries what the person is to be told: nothing was asked of the server, or its answer is no use."""
