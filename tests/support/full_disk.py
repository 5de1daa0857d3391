"""A lab service whose disk is small: `python -m tests.support.full_disk FOLDER`.

FOLDER/disk is a file system of its own, which this process alone sees, and FOLDER/data.sock its data plane.
"""

import sys
from pathlib import Path

from signalbox_common.runtime import Service, run
from tests.support.bytes_lab import BytesLab
from tests.support.lab import LabSettings
from tests.support.small_disk import mount
from tests.support.works import Workshop, World

SIZE = 64 * 1024 * 1024


def main() -> None:
    folder = Path(sys.argv[1])
    disk = folder / "disk"
    mount(disk, SIZE)

    def build() -> Service:
        app = Workshop(World(disk / "world")).service(
            LabSettings(data_listen=f"unix:{folder / 'data.sock'}", disk_path=disk)
        )
        lab = BytesLab(disk / "files")
        lab.folder.mkdir()
        lab.register(app.data)
        return app

    run(build)


if __name__ == "__main__":
    main()
