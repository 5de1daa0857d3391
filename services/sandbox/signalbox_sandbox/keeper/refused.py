"""What is not done, and why."""


class Refused(Exception):
    """Carries a code and a sentence for the service."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
