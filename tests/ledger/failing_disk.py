"""A place for a store that can be made to fail for real: a full disk, or a limit on the size of files."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

DISK_BYTES = 2 * 1024 * 1024


class FailingDisk(Protocol):
    """Where the store lies, and how to break and mend it."""

    path: Path

    def fail(self) -> None:
        """From now on nothing can be appended to the store's log."""

    def mend(self) -> None:
        """As if nothing had been."""


class FullDisk:
    """A small file system of its own, filled up with ballast."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self._ballast = folder / "ballast"

    def fail(self) -> None:
        """Fill the disk to the last byte."""
        with self._ballast.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def mend(self) -> None:
        """Make room."""
        self._ballast.unlink()


class LimitedFile:
    """The process may not let a file grow beyond the store's present log."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fail(self) -> None:
        """Allow files of the log's present size and no more."""
        log_bytes = Path(f"{self.path}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes, self._before[1]))

    def mend(self) -> None:
        """Take the limit away."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[FailingDisk]:
    """A full disk where mounting is permitted, else a limited file, with the reason printed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as refused:
        print(f"no file system of our own ({refused}); limiting the size of files instead")
        with limited_file(folder) as limited:
            yield limited
        return
    try:
        yield FullDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def limited_file(folder: Path) -> Iterator[FailingDisk]:
    """A limit on the size of files, lifted at the end whatever happened."""
    disk = LimitedFile(folder)
    try:
        yield disk
    finally:
        disk.mend()


def writing_fails(disk: FailingDisk) -> bool:
    """Whether the store's log can grow no more."""
    handle = os.open(f"{disk.path}-probe", os.O_WRONLY | os.O_CREAT)
    try:
        log_bytes = Path(f"{disk.path}-wal").stat().st_size
        return os.pwrite(handle, b"x" * 8192, log_bytes) < 8192
    except OSError:
        return True
    finally:
        os.close(handle)
        os.unlink(f"{disk.path}-probe")
