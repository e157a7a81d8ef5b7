"""How often SQLite asks the kernel to put something on disk, counted where it asks.

A file system of SQLite's own kind ("VFS") is registered in front of the usual one. It hands every call on,
and counts those of `xSync`, each of which is one fdatasync of the usual one. Needs nothing but ctypes. What
`strace -f -e trace=fsync,fdatasync` counts of the same commits and checkpoints is the same number.
"""

import _sqlite3
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MAIN_FILE, WAL_FILE = 0x00000100, 0x00080000
"""Flags with which SQLite opens a database and its log (SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_WAL)."""
SQLITE_OK = 0

OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)
SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3: what SQLite can do with an open file."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("before", ctypes.c_void_p * 4),
        ("sync", ctypes.c_void_p),
        ("after", ctypes.c_void_p * 13),
    )


class _File(ctypes.Structure):
    """sqlite3_file."""

    _fields_ = (("methods", ctypes.POINTER(_Methods)),)


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("path_chars_max", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 15),
    )


@dataclass
class Syncs:
    """Counts so far: of the log, and of the database's own file, which checkpoints write."""

    log: int = 0
    file: int = 0
    _kept: list[object] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Of both."""
        return self.log + self.file


@contextmanager
def counted_syncs() -> Iterator[Syncs]:
    """Count those of the connections that are opened in this block, by any thread. Close them before it ends.
    Raises AttributeError where this Python keeps SQLite's functions to itself."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    usual = library.sqlite3_vfs_find(None)
    counting, syncs = _Vfs(), Syncs()
    ctypes.memmove(ctypes.byref(counting), usual, ctypes.sizeof(_Vfs))
    counting.name = b"counting"
    usual_open, patched = OPEN(usual.contents.open), _Patched(syncs)

    def opened(_: int, name: int, file: int, flags: int, out_flags: int) -> int:
        code = usual_open(ctypes.addressof(usual.contents), name, file, flags, out_flags)
        if code == SQLITE_OK and flags & (MAIN_FILE | WAL_FILE):
            patched.take(_File.from_address(file), is_log=bool(flags & WAL_FILE))
        return int(code)

    callback = OPEN(opened)
    counting.open = ctypes.cast(callback, ctypes.c_void_p).value
    # SQLite holds only addresses of these.
    syncs._kept += [counting, callback, usual_open, patched]
    if library.sqlite3_vfs_register(ctypes.byref(counting), 1) != SQLITE_OK:
        raise RuntimeError("SQLite did not take another file system")
    try:
        yield syncs
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(counting))


class _Patched:
    """The methods of open files, with an `xSync` that counts."""

    def __init__(self, syncs: Syncs) -> None:
        self._syncs = syncs
        self._made: dict[tuple[int, bool], _Methods] = {}
        self._callbacks: list[object] = []

    def take(self, file: _File, *, is_log: bool) -> None:
        """Count the file's."""
        usual = file.methods.contents
        place = (ctypes.addressof(usual), is_log)
        if place not in self._made:
            self._made[place] = self._copy(usual, is_log=is_log)
        file.methods = ctypes.pointer(self._made[place])

    def _copy(self, usual: _Methods, *, is_log: bool) -> _Methods:
        made = _Methods()
        ctypes.memmove(ctypes.byref(made), ctypes.byref(usual), ctypes.sizeof(_Methods))
        usual_sync = SYNC(usual.sync)

        def sync(file: int, flags: int) -> int:
            if is_log:
                self._syncs.log += 1
            else:
                self._syncs.file += 1
            return int(usual_sync(file, flags))

        callback = SYNC(sync)
        made.sync = ctypes.cast(callback, ctypes.c_void_p).value
        self._callbacks += [callback, usual_sync]
        return made
