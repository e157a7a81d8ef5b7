"""llama.cpp's own server, built once from the source package of llama-cpp-python in a folder of the checkout.

The locks beside this file say what is installed, with hashes. Needed beside them: a C++ compiler.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[1] / ".partner"
PYTHON = PLACE / "venv" / "bin" / "python"
STAMP = PLACE / "built"
LOG = PLACE / "build.log"
LOCKS = (HERE / "build-requirements.lock", HERE / "requirements.lock")
CMAKE_ARGS = (
    "-DLLAVA_BUILD=OFF",  # pictures
    "-DGGML_NATIVE=OFF",  # the same build on every machine of a kind
    "-DGGML_OPENMP=OFF",
    "-DCMAKE_C_FLAGS_RELEASE=-O1",  # a model this small needs no speed, and compiling is shorter
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
)
INSTALL = (
    "-m",
    "pip",
    "install",
    "--verbose",
    "--disable-pip-version-check",
    "--no-deps",
    "--require-hashes",
)
STEP = re.compile(r"\[(\d+)/(\d+)\] ")

Say = Callable[[str], None]


class CannotBuild(Exception):
    """The server cannot be built here; the message says what to do."""


def built(say: Say) -> Path:
    """The Python of an environment with `llama_cpp.server` and `gguf`. Builds it when it is not there, or was
    built from other locks. Raises CannotBuild."""
    wanted = hashlib.sha256(
        b"".join(lock.read_bytes() for lock in LOCKS) + repr(CMAKE_ARGS).encode()
    ).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return PYTHON
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise CannotBuild(
            "llama.cpp's server is built from source and there is no C++ compiler: install one (Debian: "
            "apt-get install g++) and run make partner-real again"
        )
    STAMP.unlink(missing_ok=True)
    say("building llama.cpp's server, which takes some minutes once")
    _run([sys.executable, "-m", "venv", "--clear", str(PLACE / "venv")], say)
    _run([str(PYTHON), *INSTALL, "-r", str(LOCKS[0])], say)
    source = ("--no-build-isolation", "--no-binary", "llama-cpp-python")
    _run([str(PYTHON), *INSTALL, *source, "-r", str(LOCKS[1])], say)
    # Last: half a build is none.
    STAMP.write_text(wanted)
    return PYTHON


def _run(command: list[str], say: Say) -> None:
    """Run a step, its words in a log, and say now and then how far the compiler is. Raises CannotBuild."""
    PLACE.mkdir(exist_ok=True)
    path = f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"CMAKE_ARGS": " ".join(CMAKE_ARGS), "PATH": path}
    tenth = 0
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            step = STEP.search(line)
            if step and int(step[1]) * 10 // int(step[2]) > tenth:
                tenth = int(step[1]) * 10 // int(step[2])
                say(f"compiled {step[1]} of {step[2]} files")
    if process.returncode:
        last = "".join(LOG.read_text().splitlines(keepends=True)[-15:])
        raise CannotBuild(f"{last}\nbuilding llama.cpp's server failed; all of what it said is in {LOG}")
