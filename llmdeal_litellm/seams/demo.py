"""The demo: a simulator in the place of missing provider keys, and a welcome that can be pasted.

Only with LLMDEAL_DEMO=1. The simulator is a process of its own that ends with this one, however it ends.
"""

import asyncio
import secrets
import select
import subprocess
import sys
import time
from dataclasses import replace
from typing import Self

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.catalog.model import Deployment, Secret, Wallet
from llmdeal_litellm.gateway import CannotStart
from llmdeal_litellm.money import NANO_PER_USD, usd_text
from llmdeal_litellm.seams import server
from llmdeal_litellm.services import Services
from llmdeal_litellm.settings import Settings
from llmdeal_litellm.upstream.codecs.table import NATIVE_ADDRESSES

ACCOUNT_NAME = "demo"
ACCOUNT_TIER = "demo"
OPENING_CREDIT = 10 * NANO_PER_USD
SPOKEN = frozenset({"openai", "groq", "mistral", "cerebras", "nvidia_nim", "gemini", "anthropic"})
PATIENCE_S = 30.0
LISTEN_PATIENCE_S = 120.0
LISTEN_POLL_S = 0.1


class Simulator:
    """The simulator upstream as a child process."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self._process = process
        self._address = address

    @classmethod
    def start(cls) -> Self:
        """Start it and wait for its first line. Raises CannotStart."""
        command = [sys.executable, "-m", "llmdeal_litellm.simulator", "--port", "0", "--exit-with-stdin"]
        # A session of its own: Ctrl-C ends the gateway, which still settles the streams that run.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        said, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        line = process.stdout.readline() if said else ""
        address = line.rsplit(" ", 1)[-1].strip()
        if not address.startswith("http://"):
            process.kill()
            raise CannotStart(
                "the simulator did not start; run python -m llmdeal_litellm.simulator to see why"
            )
        return cls(process, address)

    def in_place_of(self, deployment: Deployment) -> Deployment:
        """The deployment, served here: same provider's manners, our address, a key that is none."""
        provider = deployment.provider if deployment.provider in SPOKEN else "generic"
        version = "" if provider in NATIVE_ADDRESSES else "/v1"
        address = f"{self._address}/{provider}{version}"
        return replace(deployment, api_base=address, api_key=Secret("simulated"))

    def stop(self) -> None:
        """End it and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


def welcome_when_listening(settings: Settings, services: Services) -> None:
    """Once the server takes connections, mint a key for the demo account and print how to use it."""
    task = asyncio.create_task(_welcome(settings))
    services.background.add(task)
    task.add_done_callback(services.background.discard)


async def _welcome(settings: Settings) -> None:
    running = server.running()
    deadline = time.monotonic() + LISTEN_PATIENCE_S
    while running is None or not running.started:
        if running is None or time.monotonic() > deadline:
            return
        await asyncio.sleep(LISTEN_POLL_S)
    # Not the port that was asked for: LiteLLM takes another when that one is in use.
    port = running.config.port
    account_id, key, balance = await asyncio.to_thread(_mint, settings)
    base = f"http://127.0.0.1:{port}/v1"
    send = "-H 'Content-Type: application/json' -d"
    body = (
        '{"model": "smart-route-fast", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'
    )
    print(
        f"""
llmdeal is ready.

  base URL   {base}
  key        {key}
  account    {account_id} (tier {ACCOUNT_TIER}, balance {balance} USD)

Try it:

  curl -N {base}/chat/completions -H 'Authorization: Bearer {key}' {send} '{body}'

What is left afterwards:

  .venv/bin/llmdeal account show {account_id}
""",
        flush=True,
    )


def _mint(settings: Settings) -> tuple[str, str, str]:
    """The demo account, made and credited on first run, and one more key for it."""
    database = settings.store.open()
    try:
        admin = Admin(database, settings.key_pepper)
        now_us = time.time_ns() // 1000
        account_id = admin.find_by_name(ACCOUNT_NAME)
        if account_id is None:
            account_id = admin.create_account(
                ACCOUNT_NAME, ACCOUNT_TIER, random_8_bytes=secrets.token_bytes(8), now_us=now_us
            )
            admin.credit(account_id, Wallet.BASE, OPENING_CREDIT, note="demo", now_us=now_us)
        _, text = admin.mint_key(account_id, random_24_bytes=secrets.token_bytes(24), now_us=now_us)
        return account_id, text, usd_text(admin.account(account_id).base.balance)
    finally:
        database.close()
