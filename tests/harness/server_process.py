"""What the PostgreSQL and the Redis server of the tests share: a temporary folder, a port, and a process
tree that is started, stopped, paused and killed by pid."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil
from processes import until
from server_guard import alive, at_exit_of_this_process, continue_tree, guard, kill_tree, stop_tree, tree

START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 30.0

SERVER_PORTS = range(12_000, 32_000)
"""Below the range from which the kernel takes the ports of outgoing connections. While a server is down, such
a connection could get the server's port, or even connect to itself, and the server could not start again."""


class ExternalServer(RuntimeError):
    """The server was given by an environment variable, and is not ours to stop, kill or pause."""


def server_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago and that no outgoing connection will take."""
    for port in random.sample(SERVER_PORTS, 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("200 ports tried, none free")


def temporary_folder(prefix: str, parent: Path | None = None) -> Path:
    """A new folder that every user may enter (mkdtemp's own mode is 0700), removed at the latest when this
    process has ended."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    folder.chmod(0o755)
    guard().tell(f"+d {folder}")
    return folder


def remove_folder(folder: Path) -> None:
    """Remove a folder that `temporary_folder` made."""
    shutil.rmtree(folder, ignore_errors=True)
    guard().tell(f"-d {folder}")


class Server:
    """A server process with its children. Usable as a context manager: started on entry, ended on exit and
    its folder removed."""

    name = "server"
    external: str | None = None
    """The address of a server given by the environment; None for a server of our own."""

    def __init__(self, parent: Path | None = None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.port = 0
        self.folder: Path | None = None
        if self.external is None:
            self.folder = temporary_folder(f"{self.name}-", parent)
            self.port = server_port()
            at_exit_of_this_process(self.close)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the process exists, paused or not. True for a server given by the environment."""
        return self.external is not None or (self._process is not None and self._process.poll() is None)

    @property
    def log(self) -> str:
        """Everything the server printed."""
        path = self._own() / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start on the same port and folder as before, and wait until it answers. Does nothing when it runs.
        Raises AssertionError with the server's log when it does not start."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the server to end in an orderly way, as its operator does, and wait; kills it when it takes
        longer than 30 s. Does nothing when it does not run."""
        self._own()
        if self._process is None:
            return
        if self._paused:
            self.resume()
        self._process.send_signal(self._stop_signal())
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL to the server and all its children, as a power cut, and wait until they are gone. Does
        nothing when it does not run."""
        self._own()
        if self._process is None:
            return
        victims = kill_tree(psutil.Process(self._process.pid)) if self._process.poll() is None else []
        self._process.wait(STOP_PATIENCE_S)
        until(lambda: not any(map(alive, victims)), what=f"the end of every {self.name} process")
        self._forget()

    def pause(self) -> None:
        """SIGSTOP to the server and all its children: connections stay open, nothing answers. New
        connections are accepted by the kernel and get no answer."""
        self._paused = True
        stop_tree(self._tree_root())

    def resume(self) -> None:
        """SIGCONT to the server and all its children."""
        continue_tree(self._tree_root())
        self._paused = False

    def processes(self) -> list[int]:
        """The pids of the server and its children; empty when it does not run."""
        return [member.pid for member in tree(self._tree_root())] if self._process else []

    def close(self) -> None:
        """End the server, whatever its state, and remove its folder. May be called more than once."""
        if self.external is None and self.folder is not None:
            self.kill()
            remove_folder(self.folder)
            self.folder = None

    def _stop_signal(self) -> int:
        return signal.SIGTERM

    def _own(self) -> Path:
        """The server's folder. Raises ExternalServer when there is none because the server is not ours."""
        if self.external is not None:
            raise ExternalServer(f"the {self.name} server is given by the environment: it is left alone")
        assert self.folder is not None, f"the {self.name} server was closed"
        return self.folder

    def _tree_root(self) -> psutil.Process:
        self._own()
        assert self._process is not None, f"the {self.name} server does not run"
        return psutil.Process(self._process.pid)

    def _launch(self, command: list[str], answers: Callable[[], bool], **options: Any) -> None:
        """Start the process, and wait until `answers` is true."""
        folder = self._own()
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C"}
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is for the tests, which then end the server
                **options,
            )
        self._process, self._paused = process, False
        guard().tell(f"+p {process.pid}")

        def ready() -> bool:
            assert process.poll() is None, f"{self.name} ended with {process.returncode}\n{self.log}"
            return answers()

        try:
            until(ready, patience_s=START_PATIENCE_S, what=f"{self.name} on port {self.port}")
        except BaseException:
            print(self.log)
            self.kill()
            raise

    def _forget(self) -> None:
        assert self._process is not None
        guard().tell(f"-p {self._process.pid}")
        self._process, self._paused = None, False
