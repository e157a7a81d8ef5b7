"""One of the cheap workers as a test holds it."""

import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
from outage_process import FORKS, METRICS, Order, run
from processes import until
from prometheus_client.parser import text_string_to_metric_families
from server_guard import guard

from llmdeal_litellm.gateway import SPOOL_FOLDER
from llmdeal_litellm.ledger.ops import CloseHold
from llmdeal_litellm.ledger.spool import SUFFIX, Spooled, read

START_PATIENCE_S = 60.0
END_PATIENCE_S = 60.0


@dataclass
class Worker:
    """A gateway process. `data` is the data folder of its machine, `refused` why it did not start."""

    process: BaseProcess
    data: Path
    log_path: Path
    heard: Connection = field(repr=False)
    url: str = ""
    refused: str = ""

    @classmethod
    def launch(cls, order: Order) -> "Worker":
        """Start one; not waited for."""
        order.log.touch()
        heard, says = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=run, args=(order, says), daemon=True)
        process.start()
        says.close()
        guard().tell(f"+p {process.pid}")
        return cls(process, order.config.parent / "data", order.log, heard)

    def starts(self) -> bool:
        """Wait for how the start goes; whether it serves."""
        assert self.heard.poll(START_PATIENCE_S), f"no start\n{self.log}"
        try:
            said = self.heard.recv()
        except EOFError:
            raise AssertionError(f"the start failed\n{self.log}") from None
        if isinstance(said, int):
            self.url = f"http://127.0.0.1:{said}"
        else:
            self.refused = said
        return isinstance(said, int)

    def wait_until_started(self) -> None:
        """Wait until it serves."""
        assert self.starts(), self.refused

    @property
    def lives(self) -> bool:
        """Whether the process runs and serves."""
        return bool(self.url) and self.process.is_alive()

    @property
    def log(self) -> str:
        """Everything that the process printed."""
        return self.log_path.read_text(errors="replace")

    def health(self) -> int:
        """The status of /health/ready; 0 when there is no answer."""
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=10).status_code
        except httpx.TransportError:
            return 0

    def until_ready(self, status: int = 200) -> None:
        """Wait for a status of /health/ready."""
        until(lambda: self.health() == status, patience_s=30, what=f"ready {status}\n{self.log[-3000:]}")

    def metric(self, name: str, **labels: str) -> float:
        """The value of a counter or gauge, 0 when it was never touched."""
        text = httpx.get(self.url + METRICS, timeout=10).text
        samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
        return next((s.value for s in samples if s.name == name and labels.items() <= s.labels.items()), 0.0)

    def spool_files(self) -> list[Path]:
        """The file of its settlements that wait, when there is one."""
        return list((self.data / SPOOL_FOLDER).glob(f"*.{self.process.pid}.*{SUFFIX}"))

    def spooled(self) -> list[Spooled]:
        """What waits on disk."""
        return [op for path in self.spool_files() for op in read(path.read_bytes())]

    def spooled_ends(self) -> set[str]:
        """The requests whose settlements wait on disk."""
        return {op.request_id for op in self.spooled() if isinstance(op, CloseHold)}

    def kill(self) -> float:
        """SIGKILL, and wait until it is gone; returns when it was sent."""
        sent_s = time.monotonic()
        self.process.kill()
        self.process.join(END_PATIENCE_S)
        return sent_s

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def stop(self) -> int | None:
        """SIGTERM, as an operator stops it; returns the exit status, None when it does not end."""
        self.signal(signal.SIGTERM)
        self.process.join(END_PATIENCE_S)
        return self.process.exitcode

    def end(self) -> None:
        """End it, whatever its state is."""
        if self.process.is_alive():
            self.process.kill()  # a stopped one, too
        self.process.join(END_PATIENCE_S)
        guard().tell(f"-p {self.process.pid}")
        self.heard.close()
