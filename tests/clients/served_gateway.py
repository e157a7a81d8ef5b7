"""A gateway in a process of its own, and what it holds: tasks, sockets, memory, holds."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client_config import Config
from fault_gateway import FaultGateway
from processes import REPOSITORY, until

SERVED = Path(__file__).with_name("served.py")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Held:
    """What is there at a moment. Connections that wait in the pool for another call are not counted."""

    tasks: tuple[str, ...]
    callers: int
    upstreams: int
    sockets: int
    open_holds: int


@dataclass(frozen=True)
class Look:
    """What the process said of itself."""

    tasks: list[str] = field(default_factory=list)
    callers: int = 0
    unsent: int = 0
    upstreams_busy: int = 0
    upstreams_idle: int = 0
    seen: int = 0


class ServedGateway(FaultGateway):
    """One gateway. Use `running`."""

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__(folder, config)
        self._log = folder / "gateway.log"
        self._process: subprocess.Popen[str]

    @contextmanager
    def running(self) -> Iterator["ServedGateway"]:
        """Serve on a free port until the context ends."""
        command = [sys.executable, str(SERVED), str(self._settings.config_path)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self.url = self._process.stdout.readline().strip()
            assert self.url, self.log
            yield self
        finally:
            self._process.stdin.close()
            status = self._process.wait(60)
        assert status == 0, self.log

    @property
    def log(self) -> str:
        """Everything that the process wrote to its standard error."""
        return self._log.read_text()

    def look(self) -> Look:
        """What its event loop holds now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Look(**json.loads(self._process.stdout.readline()))

    def held(self) -> Held:
        """Everything that a request may leave behind."""
        look = self.look()
        return Held(
            # What a task is doing at the moment is its own affair.
            tasks=tuple(task.partition(" > ")[0] for task in look.tasks),
            callers=look.callers,
            upstreams=look.upstreams_busy,
            sockets=self._sockets() - look.upstreams_idle,
            open_holds=self.open_holds(),
        )

    def back_to(self, before: Held) -> None:
        """Wait until it holds what it held before."""
        found = [before]

        def is_back() -> bool:
            found[0] = self.held()
            return found[0] == before

        try:
            until(is_back, what="what requests leave behind to be gone")
        except AssertionError as late:
            raise AssertionError(f"{late}: {found[0]}, not {before}") from None

    def _sockets(self) -> int:
        found = 0
        for handle in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += os.readlink(handle).startswith("socket:")
        return found

    def resident_bytes(self) -> int:
        """Its memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def waits_in(self, coroutine: str) -> bool:
        """Whether a task is in this coroutine now."""
        return any(coroutine in task for task in self.look().tasks)

    def open_holds(self) -> int:
        """Holds that have not ended."""
        with closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute("SELECT count(*) FROM open_holds").fetchone()[0])

    def records(self) -> list[dict[str, Any]]:
        """All records, oldest first."""
        with closing(sqlite3.connect(self.database)) as connection:
            cursor = connection.execute("SELECT * FROM records ORDER BY rowid")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def store_locked(self) -> Iterator[None]:
        """Hold the store's write lock, so that nothing can be written meanwhile."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")
