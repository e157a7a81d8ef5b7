"""Ends the servers of a test run whose process died without being able to.

Run as a script, it is a small process of its own that holds a list of server processes and folders, told to
it line by line on standard input: `+p PID`, `-p PID`, `+d FOLDER`, `-d FOLDER`. When standard input ends,
which it does however the test process ended (SIGKILL included), it kills what is still on the list, with all
descendants, and removes the folders.

PR_SET_PDEATHSIG would be shorter, but it is bound to the thread that started the child, so that a server
started by a thread would end with that thread; it leaves a stopped server's children behind; and it exists
on Linux only.
"""

import atexit
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

END_PATIENCE_S = 10.0


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants, the process first. Empty when it is gone."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def stop_tree(process: psutil.Process) -> list[psutil.Process]:
    """SIGSTOP to a process and its descendants; returns them. The process comes first and cannot have any
    more children from then on, so that the list is complete."""
    _send(process, signal.SIGSTOP)
    found = tree(process)
    for descendant in found[1:]:
        _send(descendant, signal.SIGSTOP)
    return found


def continue_tree(process: psutil.Process) -> None:
    """SIGCONT to a process and its descendants, the process last."""
    for member in reversed(tree(process)):
        _send(member, signal.SIGCONT)


def kill_tree(process: psutil.Process) -> list[psutil.Process]:
    """SIGKILL to a process and all its descendants, stopped or not; returns those it was sent to."""
    found = stop_tree(process)
    for member in found:
        _send(member, signal.SIGKILL)
    return found


def alive(process: psutil.Process) -> bool:
    """Whether a process still does anything. A zombie does not, and some init processes never reap."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_shared_memory(folder: str) -> None:
    """Free the small System V segment that a PostgreSQL server with its data in `folder`/data leaves behind
    when it is killed. The server must be gone."""
    try:
        with open(os.path.join(folder, "data", "postmaster.pid")) as lock:
            words = lock.read().splitlines()[6].split()
    except (FileNotFoundError, IndexError):
        return
    if words:
        ctypes.CDLL(None).shmctl(int(words[-1]), 0, None)  # 0 is IPC_RMID


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


class Guard:
    """This process's end of the guard process."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", __file__]
        # A session of its own: Ctrl-C on the terminal must not end it before the tests.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def tell(self, line: str) -> None:
        """Send one line. Raises BrokenPipeError when the guard process was killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the guard process, which ends what is still on its list."""
        with suppress(BrokenPipeError):
            self._process.communicate()


@functools.cache
def _guard_of(pid: int) -> Guard:
    guard = Guard()
    at_exit_of_this_process(guard.close)
    return guard


def guard() -> Guard:
    """The guard of the calling process; started at the first call."""
    return _guard_of(os.getpid())


def at_exit_of_this_process(action: Callable[[], object]) -> None:
    """atexit, except that a forked copy of this process does not run it."""
    owner = os.getpid()

    def run() -> None:
        if os.getpid() == owner:
            action()

    atexit.register(run)


def main() -> None:
    """Read the list until standard input ends, then end what is on it."""
    processes: dict[str, psutil.Process] = {}
    folders: set[str] = set()
    for line in sys.stdin:
        order, _, what = line.rstrip("\n").partition(" ")
        if order == "+p":
            with suppress(psutil.NoSuchProcess):
                processes[what] = psutil.Process(int(what))  # remembers its start, so no reused pid is hit
        elif order == "-p":
            processes.pop(what, None)
        elif order == "+d":
            folders.add(what)
        else:
            folders.discard(what)
    killed = [member for process in processes.values() if alive(process) for member in kill_tree(process)]
    deadline = time.monotonic() + END_PATIENCE_S
    while any(map(alive, killed)) and time.monotonic() < deadline:
        time.sleep(0.02)  # between two looks
    for folder in folders:
        free_shared_memory(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
