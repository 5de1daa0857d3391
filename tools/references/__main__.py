"""Writes the references; with `--check` it fails where they are out of date.

Where the code breaks what they promise it refuses, unless it is told that this is meant: `--accept-breaks`.
"""

import sys

from tools.references.documents import committed, documents, written
from tools.references.growth import breaks


def main(*, check: bool, accept: bool) -> int:
    old, new = committed(), documents()
    broken = [] if accept else breaks(old, new)
    if broken:
        print("v1 only grows, and this would break it:", *broken, sep="\n  ", file=sys.stderr)
        return 1
    stale = [path for path in {*old, *new} if old.get(path) != new.get(path)]
    if check and stale:
        print(f"out of date, run `make docs`: {', '.join(sorted(map(str, stale)))}", file=sys.stderr)
        return 1
    for path in stale:
        if path not in new:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(new[path]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:], accept="--accept-breaks" in sys.argv[1:]))
