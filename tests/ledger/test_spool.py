"""Settlements that the store could not take: on this machine's disk until it has them, and never twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import CloseHold, MarkDelivered
from llmdeal_litellm.ledger.spool import Spool, Spooled, orphans, read
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

from .failing_store import limited_size
from .running import given_back, paid

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
COUNTS = st.integers(0, 2**53)
PAYEES = st.none() | st.builds(Payee, TEXT, st.integers(0, 10_000))
CLOSES = st.builds(
    CloseHold,
    TEXT,
    st.sampled_from(Rule),
    st.none() | st.builds(Billed, COUNTS, COUNTS, COUNTS, st.lists(TEXT, max_size=3).map(tuple)),
    st.builds(Claim, st.none() | COUNTS, st.none() | COUNTS, COUNTS, COUNTS),
    st.none() | TEXT,
    st.integers(0, 3),
    st.none() | TEXT,
    PAYEES,
)
MARKS = st.builds(MarkDelivered, TEXT, COUNTS, st.integers(0, 3), PAYEES)

KEEPS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from llmdeal_litellm.ledger.ops import CloseHold
from llmdeal_litellm.ledger.spool import Spool
from llmdeal_litellm.policy.usage import Billed, Rule

spool = Spool(Path(sys.argv[1]), "other")
spool.keep([CloseHold("r1", Rule.COMPLETED, Billed(100, 100))])
print("kept", flush=True)
if sys.stdin.readline() == "die":
    os.kill(os.getpid(), signal.SIGKILL)
spool.close()
"""


def files(folder: Path) -> dict[str, bytes]:
    """What is in the folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def said(folder: Path) -> list[Spooled]:
    """What a file that was left says."""
    return [op for content in files(folder).values() for op in read(content)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files lie; made when it is needed."""
    return tmp_path / "spool"


@settings(deadline=None)
@given(st.lists(CLOSES | MARKS, max_size=5, unique_by=lambda op: (type(op), op.request_id, op.leg)))
def test_what_is_kept_is_read_back(tmp_path_factory: pytest.TempPathFactory, ops: list[Spooled]) -> None:
    """Every field of every operation, whatever is in it, in the order in which it came."""
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, "w1")
    spool.keep(ops)

    assert said(folder) == ops
    spool.settled(ops)
    spool.close()
    assert files(folder) == {}


def test_lines_of_an_earlier_version_name_nobody() -> None:
    """A spool that a version without partners left is read as it was meant."""
    close = b'{"close":["r1",0],"rule":"completed","billed":[1,2,0,[]],"claim":[1,2,0,0],'
    close += b'"served_by":"x","answer":null}'
    found = read(close + b'\n{"mark":["r2",0,7]}\n')

    assert found == [
        CloseHold("r1", Rule.COMPLETED, Billed(1, 2), Claim(1, 2), "x"),
        MarkDelivered("r2", 7),
    ]


def test_nothing_to_keep_leaves_no_trace(folder: Path) -> None:
    """A process whose store never fails has no file."""
    spool = Spool(folder, "w1")
    assert spool.keep([]) == 0
    spool.settled([paid("r1")])
    spool.close()

    assert files(folder) == {}


def test_kept_once_however_often_it_is_tried(folder: Path) -> None:
    """Each try of a store that is away finds what was kept before: the file does not grow."""
    spool = Spool(folder, "w1")
    ops = [paid("r1"), given_back("r2"), MarkDelivered("r3", 5)]

    assert [spool.keep(ops), spool.keep(ops), spool.keep(ops)] == [3, 0, 0]
    assert spool.keep([*ops, paid("r4")]) == 1
    assert said(folder) == [*ops, paid("r4")]


def test_a_mark_says_more_or_nothing(folder: Path) -> None:
    """Of the marks of one hold the largest counts: one that says less than what is there is not written."""
    spool = Spool(folder, "w1")
    marks = [MarkDelivered("r1", n) for n in (10, 20, 30)]

    assert spool.keep(marks[:1]) == 1
    assert spool.keep(marks) in (1, 2)
    size = len(files(folder)["w1.spool"])
    assert spool.keep(marks) == 0
    assert len(files(folder)["w1.spool"]) == size
    assert max(op.output_tokens for op in said(folder) if isinstance(op, MarkDelivered)) == 30


def test_settled_it_is_emptied(folder: Path) -> None:
    """Once the store has all of it the file is empty, and takes what comes later."""
    spool = Spool(folder, "w1")
    spool.keep([paid("r1"), paid("r2"), MarkDelivered("r1", 5)])
    spool.settled([MarkDelivered("r1", 5), paid("r1")])
    assert said(folder) != []
    spool.settled([paid("r2"), paid("r3")])
    assert files(folder) == {"w1.spool": b""}
    spool.keep([paid("r4")])
    assert said(folder) == [paid("r4")]


def test_at_the_end_only_what_is_not_settled_stays(folder: Path) -> None:
    """An orderly end leaves a file with the unsettled, for the next start, and no file without any."""
    for name, settled in (("w1", ["r1", "r2"]), ("w2", ["r1"])):
        spool = Spool(folder, name)
        spool.keep([paid("r1"), paid("r2")])
        spool.settled([paid(request) for request in settled])
        spool.close()
    assert list(files(folder)) == ["w2.spool"]
    with orphans(folder) as left:
        assert left == [paid("r1"), paid("r2")]


def test_what_comes_after_the_end_does_no_harm(folder: Path) -> None:
    """A thread that is late, at the end of the process, does not replace what is kept."""
    spool = Spool(folder, "w1")
    spool.keep([paid("r1")])
    spool.close()

    assert spool.keep([paid("r2")]) == 0
    spool.settled([paid("r1")])
    spool.close()
    assert said(folder) == [paid("r1")]


def test_each_keep_is_on_the_disk_before_it_returns(folder: Path, tmp_path: Path) -> None:
    """The file is flushed to the disk, and so is the folder that has its name."""
    trace = tmp_path / "trace"
    code = KEEPS_AND_DIES.replace('print("kept", flush=True)', "")
    hook = (
        "import os, sys\n"
        "real = os.fsync\n"
        "def fsync(handle):\n"
        "    real(handle)\n"
        f"    open({str(trace)!r}, 'a').write(os.readlink(f'/proc/self/fd/{{handle}}') + '\\n')\n"
        "os.fsync = fsync\n"
    )
    subprocess.run([sys.executable, "-c", hook + code, str(folder)], input="", text=True, check=True)

    assert trace.read_text().splitlines() == [str(folder), str(folder / "other.spool")]


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_line_that_was_cut_off_was_never_promised(folder: Path, cut: int) -> None:
    """A crash in the middle of a write leaves the lines before it."""
    spool = Spool(folder, "w1")
    spool.keep([paid("r1"), paid("r2")])
    (content,) = files(folder).values()

    assert read(content[:-cut]) == [paid("r1")]


GARBAGE = (
    b"not json",
    b"{",
    b"null",
    b"5",
    b'"close"',
    b"[]",
    b"{}",
    b"\x00\x00\x00",
    b"\xff\xfe",
    b'{"close":["r9",0]}',
    b'{"close":"r9","rule":"completed","billed":null,"claim":[null,null,0,0],"served_by":null,"answer":null}',
    b'{"close":["r9",0],"rule":"paid","billed":null,"claim":[null,null,0,0],"served_by":null,"answer":null}',
    b'{"close":["r9",0],"rule":"completed","billed":[1],"claim":[null,null,0,0],"served_by":null,"answer":null}',
    b'{"close":["r9",0],"rule":"completed","billed":[],"claim":[null,null,0,0],"served_by":null,"answer":null}',
    b'{"close":["r9",0],"rule":"completed","billed":{},"claim":[null,null,0,0],"served_by":null,"answer":null}',
    b'{"close":["r9",0],"rule":"completed","billed":null,"claim":[1,2,3,4,5],"served_by":null,"answer":null}',
    b'{"mark":["r9",0]}',
    b'{"mark":5}',
    b'{"mark":null}',
)


@pytest.mark.parametrize("line", GARBAGE)
def test_a_line_that_says_nothing_is_logged_and_left_out(
    folder: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged line costs what it said, and nothing of what stands before and after it."""
    folder.mkdir()
    spool = Spool(folder, "w1")
    spool.keep([paid("r1")])
    (content,) = files(folder).values()

    assert read(content + line + b"\n" + content) == [paid("r1"), paid("r1")]
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


@given(st.binary(max_size=200))
def test_no_file_stops_a_start(content: bytes) -> None:
    """Whatever is in a file, reading it is no failure."""
    for op in read(content + b"\n"):
        assert isinstance(op, CloseHold | MarkDelivered)


def test_a_full_disk_is_no_failure(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the disk does not take is said and stays in memory; kept once there is room, it is there once."""
    spool = Spool(folder, "w1")
    spool.keep([paid("r1")])
    with limited_size(len(files(folder)["w1.spool"]) + 20):
        assert spool.keep([paid("r2")]) == 0
    assert "CRITICAL" in [record.levelname for record in caplog.records]
    assert spool.keep([paid("r2")]) == 1
    assert spool.keep([paid("r3")]) == 1

    assert {op.request_id for op in said(folder)} == {"r1", "r2", "r3"}


def test_what_cannot_be_written_down_does_not_stop_the_rest(folder: Path) -> None:
    """A settlement that is no text costs only itself."""
    spool = Spool(folder, "w1")
    odd = CloseHold("r1", Rule.COMPLETED, Billed(1, 1), served_by="\ud800")
    spool.keep([odd, paid("r2")])

    assert said(folder) == [paid("r2")]


def test_a_living_process_keeps_its_file(folder: Path) -> None:
    """Neither another process nor this one itself takes what a living one has kept; after its death the first
    who looks does."""
    other = subprocess.Popen(
        [sys.executable, "-c", KEEPS_AND_DIES, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "kept\n"
    own = Spool(folder, "own")
    own.keep([paid("mine")])
    with orphans(folder) as left:
        assert left == []
    assert list(files(folder)) == ["other.spool", "own.spool"]
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with orphans(folder) as left:
        assert left == [paid("r1")]
        with orphans(folder) as second:
            assert second == [], "somebody else has it"
    assert list(files(folder)) == ["own.spool"]
    own.close()


def test_what_could_not_be_stored_is_left_for_the_next(folder: Path) -> None:
    """A file is removed when what it says is in the store, not before."""
    spool = Spool(folder, "w1")
    spool.keep([paid("r1")])
    spool.close()
    with pytest.raises(RuntimeError), orphans(folder) as left:
        raise RuntimeError(f"the store is away: {left}")
    with orphans(folder) as left:
        assert left == [paid("r1")]
    with orphans(folder) as left:
        assert left == []
    assert files(folder) == {}


def test_files_of_others_are_left_alone(folder: Path) -> None:
    """Only what is named as ours is read; a folder that does not exist has nothing in it."""
    with orphans(folder) as left:
        assert left == []
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with orphans(folder) as left:
        assert left == []
    assert files(folder) == {"notes.txt": b"mine"}


def test_only_the_owner_reads_it(folder: Path) -> None:
    """Kept answers are encrypted, and the folder is nobody else's all the same."""
    spool = Spool(folder, "w1")
    spool.keep([paid("r1")])
    assert os.stat(folder).st_mode & 0o777 == 0o700
    spool.close()
