"""What it is measured on, and how far it is."""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path


def machine() -> str:
    """The machine in a sentence."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} CPUs ({next(named, platform.machine())}), {memory:.0f} GiB, Linux "
        f"{platform.release()}, Python {platform.python_version()}."
    )


def progress() -> Callable[[str], None]:
    """Prints what it is given, with the seconds since now, on standard error."""
    begun_s = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begun_s:5.0f} s: {what}", file=sys.stderr, flush=True)

    return say
