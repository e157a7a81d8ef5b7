"""Stores that can be made to fail for real: a full disk, a limit on the size of files, a cut network."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fault_proxy import FaultProxy

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.stores import PostgresStore

from .places import Place, in_a_file

DISK_BYTES = 2 * 1024 * 1024


class FailingStore(Protocol):
    """A store, and how to break and mend it for a gateway. `place` is how a test looks at it: that goes on
    working for whoever only reads."""

    place: Place

    def open_ledger(self) -> Database:
        """The gateway's connection."""

    def fail(self) -> None:
        """From now on the gateway can write nothing."""

    def mend(self) -> None:
        """As if nothing had been."""


class FullDisk:
    """A small file system of its own, filled up with ballast."""

    def __init__(self, folder: Path) -> None:
        self.place = in_a_file(folder)
        self._ballast = folder / "ballast"

    def open_ledger(self) -> Database:
        """See `FailingStore`."""
        return self.place.open_ledger()

    def fail(self) -> None:
        """Fill the disk to the last byte."""
        with self._ballast.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        assert writing_fails(self.place.path)

    def mend(self) -> None:
        """Make room."""
        self._ballast.unlink()


class LimitedFile:
    """The process may not let a file grow beyond the store's present log."""

    def __init__(self, folder: Path) -> None:
        self.place = in_a_file(folder)
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def open_ledger(self) -> Database:
        """See `FailingStore`."""
        return self.place.open_ledger()

    def fail(self) -> None:
        """Allow files of the log's present size and no more."""
        log_bytes = Path(f"{self.place.path}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes, self._before[1]))
        assert writing_fails(self.place.path)

    def mend(self) -> None:
        """Take the limit away."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class CutNetwork:
    """A server that the gateway reaches through a proxy."""

    def __init__(self, place: Place, proxy: FaultProxy) -> None:
        self.place = place
        self.proxy = proxy

    def open_ledger(self) -> Database:
        """See `FailingStore`."""
        store = PostgresStore(self.proxy.url_for(self.place.address))
        return self.place.closed_at_the_end(store.open_ledger(alone=False))

    def fail(self) -> None:
        """Drop the connections and take no new ones."""
        self.proxy.refuse = True
        self.proxy.cut_all()

    def mend(self) -> None:
        """Take connections again."""
        self.proxy.refuse = False


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[FailingStore]:
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
        full = FullDisk(folder)
        yield full
        full.place.close()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def limited_file(folder: Path) -> Iterator[FailingStore]:
    """A limit on the size of files, lifted at the end whatever happened."""
    limited = LimitedFile(folder)
    try:
        yield limited
    finally:
        limited.mend()
        limited.place.close()


@contextlib.contextmanager
def cut_network(place: Place) -> Iterator[CutNetwork]:
    """A database on a server, behind a proxy."""
    with FaultProxy(place.address) as proxy:
        yield CutNetwork(place, proxy)


@contextlib.contextmanager
def limited_size(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def writing_fails(path: Path) -> bool:
    """Whether the store's log can grow no more."""
    handle = os.open(f"{path}-probe", os.O_WRONLY | os.O_CREAT)
    try:
        log_bytes = Path(f"{path}-wal").stat().st_size
        return os.pwrite(handle, b"x" * 8192, log_bytes) < 8192
    except OSError:
        return True
    finally:
        os.close(handle)
        os.unlink(f"{path}-probe")
