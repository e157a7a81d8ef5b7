"""The disk under what is measured: that there is one, and what a flush of it takes."""

import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SYNCS_TRIED = 200
RAM_FILE_SYSTEMS = ("tmpfs", "ramfs")


def fdatasync_us(folder: Path) -> float:
    """Microseconds in which the disk takes 4 KiB, the median."""
    path = folder / f"bench-{os.getpid()}.probe"
    taken: list[float] = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for n in range(SYNCS_TRIED):
            begun_s = time.perf_counter()
            os.pwrite(file, os.urandom(4096), n * 4096)
            os.fdatasync(file)
            taken.append((time.perf_counter() - begun_s) * 1e6)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(taken)


def lasting_folder() -> Path:
    """The system's folder for temporary files, or the lasting one where that one is memory."""
    mounts: dict[str, str] = {}
    with suppress(OSError):
        for words in map(str.split, Path("/proc/mounts").read_text().splitlines()):
            mounts[words[1]] = words[2]
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp")):
        place = next((str(p) for p in (folder, *folder.parents) if str(p) in mounts), "")
        if mounts.get(place) not in RAM_FILE_SYSTEMS:
            return folder
    sys.exit(
        "every folder for temporary files lies in memory, where nothing is flushed; name one with --folder"
    )
