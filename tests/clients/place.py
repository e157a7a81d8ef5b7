"""The gateway as one test uses it: a customer, the simulator's counters, and how holds ended."""

from typing import Any

import httpx
from client_config import INPUT_NANO, OUTPUT_NANO
from counting import tokens_of
from processes import until
from rough import RoughCall, chat
from served_gateway import Held, ServedGateway

MESSAGE_OVERHEAD = 8

End = dict[str, Any]


class Place:
    """One gateway and its simulator."""

    def __init__(self, gateway: ServedGateway, control: httpx.Client) -> None:
        self.gateway = gateway
        self.control = control
        self.key = ""
        self._before: Held
        self._records = 0
        self._asked = 0

    def begin(self) -> None:
        """A new customer, and a look at what there is."""
        self.control.post("/reset")
        self.key = self.gateway.key()
        self._records = len(self.gateway.records())
        self._asked = self.upstream_count()
        self._before = self.gateway.held()

    def end(self) -> None:
        """Nothing may be left of what happened since."""
        self.control.post("/reset")
        self.reached("open", at_most=0)
        self.gateway.back_to(self._before)

    def url(self, path: str = "/v1/chat/completions") -> str:
        """The address of a path."""
        return self.gateway.url + path

    def call(self, text: str, model: str = "llama-3.3-70b", **fields: Any) -> RoughCall:
        """Send a chat completion."""
        return RoughCall(self.url(), chat(text, model, **fields), self.key)

    def script(self, behaviour: str, **fields: Any) -> None:
        """What the simulator does next."""
        made = self.control.post("/script", json={"behaviour": behaviour, "times": 1, **fields})
        assert made.status_code == 200, made.text

    def reached(self, counter: str, **bounds: int) -> None:
        """Wait for a counter of the simulator."""
        found = self.control.get(f"/{counter}", params=bounds).json()
        assert found["reached"], f"{counter}: {found}"

    def upstream_count(self) -> int:
        """How many requests the simulator has had."""
        return int(self.control.get("/count").json()["count"])

    @property
    def asked(self) -> int:
        """How many of them since the test began."""
        return self.upstream_count() - self._asked

    def ends(self, count: int = 0) -> list[End]:
        """The records of the ends since the test began, once there are so many and nothing is held any more.
        Each is checked: what is charged is what its tokens cost."""
        until(lambda: len(self._ends()) >= count, what=f"{count} ends")
        self.gateway.back_to(self._before)
        found = self._ends()
        for end in found:
            assert -end["balance_change"] == cost(end), end
        return found

    def only_end(self) -> End:
        """As `ends`, where there is one."""
        found = self.ends(1)
        assert len(found) == 1, found
        return found[0]

    def records(self) -> list[dict[str, Any]]:
        """All records since the test began."""
        return self.gateway.records()[self._records :]

    def _ends(self) -> list[End]:
        return [record for record in self.records() if record["kind"] in ("post", "void")]


def cost(end: End) -> int:
    """What the tokens of a record cost, in nano-USD."""
    return INPUT_NANO * (end["input_tokens"] or 0) + OUTPUT_NANO * (end["output_tokens"] or 0)


def own_input(text: str) -> int:
    """Our count of a request with one message."""
    return tokens_of(text) + MESSAGE_OVERHEAD
