"""What Linux tells about a running process: its children, its port, whether it is still there."""

import contextlib
import os
from pathlib import Path

LISTENING = "0A"


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def command_line(pid: int) -> str:
    """The words a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def listening_port(pid: int) -> int:
    """The TCP port on which a process listens, 0 when there is none."""
    sockets: set[str] = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.add(os.readlink(handle))
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
            return int(fields[1].rpartition(":")[2], 16)
    return 0


def simulator_of(gateway: int) -> int:
    """The process id of the simulator that a gateway started."""
    (found,) = [pid for pid in children(gateway) if "llmdeal_litellm.simulator" in command_line(pid)]
    return found


def group_members(group: int) -> list[int]:
    """The running processes of a process group."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry.name))
    return found
