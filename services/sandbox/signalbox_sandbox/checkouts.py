"""Checkouts that git has prepared on the disk of this node."""

import uuid
from pathlib import Path


class Checkouts:
    """`<project>/checkouts/<id>` leads to the folder with `tree` and `git`, once both are whole."""

    def __init__(self, trees: Path) -> None:
        self._trees = trees

    def find(self, project: uuid.UUID, checkout: uuid.UUID) -> Path | None:
        """None where it is not there, or not yet; never of another project."""
        own = (self._trees / str(project)).resolve()
        found = (own / "checkouts" / str(checkout)).resolve()
        if found.is_relative_to(own) and (found / "tree").is_dir():
            return found
        return None
