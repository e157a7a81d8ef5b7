"""Settlements that the store could not take, on this machine's disk until it can.

One file per process, one JSON line per operation, each batch of lines fsynced. A process keeps its file
locked; a file that nobody has locked was left by one that died, and whoever finds it writes what it says.
Writing twice is harmless: a hold ends once.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import orjson

from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import CloseHold, MarkDelivered
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

log = logging.getLogger("llmdeal.ledger")

Spooled = CloseHold | MarkDelivered

SUFFIX = ".spool"


class Spool:
    """This process's file. Thread-safe; the file is made when there is something to write into it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}{SUFFIX}"
        self._file: IO[bytes] | None = None
        self._waiting: set[tuple[str, int]] = set()
        self._marks: dict[tuple[str, int], int] = {}
        """What the file says of holds that have not ended."""
        self._torn = False
        self._closed = False
        self._lock = threading.Lock()

    def keep(self, ops: Iterable[Spooled]) -> int:
        """Append operations, durably; what is there already is not written again. Returns how many were new.
        A disk that does not take them is logged: they are still in memory."""
        with self._lock:
            new = [(op, line) for op in ops if not self._has(op) and (line := _line(op))]
            if not new or self._closed:
                return 0
            try:
                self._append(self._opened(), b"".join(line for _, line in new))
            except OSError as failed:
                log.critical("settlements could not be spooled, they are in memory only: %s", failed)
                return 0
            for op, _ in new:
                if isinstance(op, CloseHold):
                    self._waiting.add(_place(op))
                else:
                    self._marks[_place(op)] = max(op.output_tokens, self._marks.get(_place(op), 0))
            return len(new)

    def _append(self, file: IO[bytes], lines: bytes) -> None:
        """Write all of it, and have it on disk. What a full disk took of it is no part of what comes next."""
        left = memoryview(b"\n" + lines if self._torn else lines)
        self._torn = True
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
        self._torn = False

    def _has(self, op: Spooled) -> bool:
        if isinstance(op, MarkDelivered):
            return self._marks.get(_place(op), -1) >= op.output_tokens
        return _place(op) in self._waiting

    def settled(self, ops: Iterable[object]) -> None:
        """The store has taken these: once it has all of them the file is emptied."""
        if not self._waiting and not self._marks:
            return
        with self._lock:
            for op in ops:
                if isinstance(op, CloseHold | MarkDelivered):
                    self._marks.pop(_place(op), None)
                if isinstance(op, CloseHold):
                    self._waiting.discard(_place(op))
            if not self._waiting and not self._marks and self._file is not None:
                with suppress(OSError):
                    self._file.truncate(0)

    def close(self) -> None:
        """Let go of the file; an empty one is removed. Nothing is kept afterwards."""
        with self._lock:
            self._closed = True
            if self._file is None:
                return
            with suppress(OSError):
                if not self._waiting and not self._marks:
                    self._path.unlink(missing_ok=True)
                self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        """The file, locked before it has the name by which others look for left ones."""
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            unnamed = self._path.with_suffix(".new")
            file = unnamed.open("ab", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.replace(self._path)
            directory = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            self._file = file
        return self._file


@contextmanager
def orphans(folder: Path) -> Iterator[list[Spooled]]:
    """What dead processes left in the folder. When the block ends without an error it is in the store, and
    the files are removed; until then no other process takes them."""
    found: list[Spooled] = []
    taken: list[tuple[Path, IO[bytes]]] = []
    try:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            file = _locked(path)
            if file is not None:
                taken.append((path, file))
                found += read(file.read())
        yield found
        for path, _ in taken:
            path.unlink(missing_ok=True)
    finally:
        for _, file in taken:
            file.close()


def _locked(path: Path) -> IO[bytes] | None:
    """The file, or None when its process lives or somebody else has taken it."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def read(content: bytes) -> list[Spooled]:
    """The operations of a file. A line that a crash cut off, at the end, was never promised to anybody."""
    found: list[Spooled] = []
    for line in filter(None, content.split(b"\n")[:-1]):
        try:
            found.append(_op(orjson.loads(line)))
        except (ValueError, LookupError, TypeError) as wrong:
            log.critical("a line of a spool file cannot be read and is left out: %s", wrong)
    return found


def _line(op: Spooled) -> bytes:
    """An operation as a line; empty when it cannot be written down, which no operation of ours is."""
    try:
        return orjson.dumps(_said(op)) + b"\n"
    except TypeError as odd:
        log.critical("%s of %r cannot be spooled: %s", type(op).__name__, op.request_id, odd)
        return b""


def _said(op: Spooled) -> dict[str, Any]:
    if isinstance(op, MarkDelivered):
        return {"mark": [op.request_id, op.leg, op.output_tokens], "payee": _said_payee(op.payee)}
    billed, claim = op.billed, op.claim
    return {
        "close": [op.request_id, op.leg],
        "rule": op.rule.value,
        "billed": None
        if billed is None
        else [billed.input, billed.output, billed.cached, list(billed.marks)],
        "claim": [claim.input, claim.output, claim.reasoning, claim.cached],
        "served_by": op.served_by,
        "answer": op.answer,
        "payee": _said_payee(op.payee),
    }


def _said_payee(payee: Payee | None) -> list[str | int] | None:
    return None if payee is None else [payee.partner, payee.share]


def _op(said: dict[str, Any]) -> Spooled:
    """The inverse of `_said`. Raises ValueError, LookupError or TypeError."""
    if "mark" in said:
        request_id, leg, output = said["mark"]
        _only((str,), request_id)
        _only((int,), leg, output)
        return MarkDelivered(request_id, output, leg, _payee(said))
    request_id, leg = said["close"]
    billed: Sequence[Any] | None = said["billed"]
    claimed_input, claimed_output, reasoning, cached = said["claim"]
    _only((str,), request_id, *([] if billed is None else billed[3]))
    _only((int,), leg, *(billed or ())[:3], reasoning, cached)
    _only((int, type(None)), claimed_input, claimed_output)
    _only((str, type(None)), said["served_by"], said["answer"])
    return CloseHold(
        request_id,
        Rule(said["rule"]),
        None if billed is None else Billed(billed[0], billed[1], billed[2], tuple(billed[3])),
        Claim(claimed_input, claimed_output, reasoning, cached),
        said["served_by"],
        leg,
        said["answer"],
        _payee(said),
    )


def _payee(said: dict[str, Any]) -> Payee | None:
    """Who is paid. A line that an earlier version wrote names nobody."""
    found = said.get("payee")
    if found is None:
        return None
    partner, share = found
    _only((str,), partner)
    _only((int,), share)
    return Payee(partner, share)


def _only(kinds: tuple[type, ...], *values: object) -> None:
    """Raises TypeError: a store would take a number for a name."""
    for value in values:
        if type(value) not in kinds:
            raise TypeError(f"{value!r} is none of {', '.join(kind.__name__ for kind in kinds)}")


def _place(op: Spooled) -> tuple[str, int]:
    return (op.request_id, op.leg)
