"""One request over a plain socket, and which worker has it."""

import json
import re
import socket
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import psutil
from fleet_gateway import FleetGateway
from processes import until
from raw import EVENT
from world import Customer

PATIENCE_S = 120.0


class KillCall:
    """A POST that has been sent. Reading is for the test to do, when it wants to."""

    def __init__(
        self,
        gateway: FleetGateway,
        body: Mapping[str, Any],
        customer: Customer,
        repeat_key: str | None = None,
    ) -> None:
        self._gateway = gateway
        parts, payload = urlsplit(gateway.url), json.dumps(body).encode()
        repeat = f"Idempotency-Key: {repeat_key}\r\n" if repeat_key else ""
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n{repeat}"
            f"Authorization: Bearer {customer.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n"
        )
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S)
        self._port = self._socket.getsockname()[1]
        self._socket.sendall(head.encode() + payload)
        self.received = b""

    @cached_property
    def worker(self) -> int:
        """The pid of the worker that has it; to be asked for while the connection is open."""

        def found() -> int | None:
            for pid in self._gateway.worker_pids():
                try:
                    connections = psutil.Process(pid).net_connections("tcp4")
                except psutil.Error:
                    continue
                if any(one.raddr and one.raddr.port == self._port for one in connections):
                    return pid
            return None

        return int(until(found, patience_s=PATIENCE_S, what="a worker to take the request"))

    def kill_worker(self) -> None:
        """SIGKILL the worker that has it, or had it."""
        self._gateway.kill_worker(self.worker)

    def read_events(self, least: int) -> "KillCall":
        """Read until so many events of a stream are there."""
        while len(EVENT.findall(self.received)) < least:
            assert self._more(), f"the answer ended: {self.received[-500:]!r}"
        return self

    def read_all(self) -> "KillCall":
        """Read until the connection ends, however."""
        while self._more():
            pass
        self._socket.close()
        return self

    def _more(self) -> bool:
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += piece
        return bool(piece)

    @property
    def status(self) -> int:
        """The status line's number; 0 before it came."""
        return int(self.received[9:12] or 0)

    @property
    def replayed(self) -> bool:
        """Whether it is an answer that was given before."""
        return b"\r\nx-llmdeal-idempotent-replay: true\r\n" in self.received

    @property
    def content(self) -> str:
        """The text of the events so far."""
        said = [json.loads(event) for event in EVENT.findall(self.received) if event != b"[DONE]"]
        choices = [choice for one in said for choice in one.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def usage(self) -> tuple[int, int]:
        """Input and output tokens, as the answer says."""
        (found,) = re.findall(rb'"usage":\{"prompt_tokens":(\d+),"completion_tokens":(\d+)', self.received)
        return int(found[0]), int(found[1])
