"""Our own count of what has been delivered of one answer."""

from collections.abc import Iterable

from llmdeal_litellm.limits import OUTPUT_CLAIM_SLACK_TOKENS
from llmdeal_litellm.policy.answer import Answer, Delta
from llmdeal_litellm.policy.tokens import TokenCounter
from llmdeal_litellm.values import value

BEGINNING_CHARS = 1024


@value
class Pending:
    """What was delivered and not yet counted: so many pieces, and their text."""

    visible_pieces: int
    reasoning_pieces: int
    visible: str
    reasoning: str


@value
class Counted:
    """The tokens of a Pending."""

    pending: Pending
    visible: int
    reasoning: int


class Delivered:
    """Counts tokens of text, tool calls and reasoning. Text is counted when a number is asked for, not
    per piece: a piece costs one list append.

    `pending`, `count` and `counted` are the three steps of `tokens`, so that the second can run elsewhere.
    """

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._visible: list[str] = []
        self._reasoning: list[str] = []
        self._pending_chars = 0
        self.beginning = ""
        """Of the visible text that was counted, so many characters at most as are enough to know it by."""
        self.visible = 0
        self.reasoning = 0

    def add(self, pieces: Iterable[Delta | Answer]) -> None:
        """Take pieces of the answer, in their order."""
        visible, reasoning, chars = self._visible, self._reasoning, 0
        for piece in pieces:
            if piece.content:
                visible.append(piece.content)
                chars += len(piece.content)
            if piece.refusal:
                visible.append(piece.refusal)
                chars += len(piece.refusal)
            for call in piece.tool_calls:
                said = (call.name or "") + call.arguments
                visible.append(said)
                chars += len(said)
            if piece.reasoning:
                reasoning.append(piece.reasoning)
                chars += len(piece.reasoning)
        self._pending_chars += chars

    @property
    def is_counted(self) -> bool:
        """Whether all of it is counted."""
        return not self._pending_chars

    @property
    def started(self) -> bool:
        """Whether there was anything."""
        return bool(self.visible or self.reasoning or self._pending_chars)

    def pending(self) -> Pending:
        """What is not yet counted."""
        visible, reasoning = self._visible, self._reasoning
        return Pending(len(visible), len(reasoning), "".join(visible), "".join(reasoning))

    def count(self, pending: Pending) -> Counted:
        """Count it. Touches nothing."""
        reasoning = self._counter(pending.reasoning) if pending.reasoning else 0
        return Counted(pending, self._counter(pending.visible), reasoning)

    def counted(self, counted: Counted) -> None:
        """Take the count over."""
        pending = counted.pending
        del self._visible[: pending.visible_pieces]
        del self._reasoning[: pending.reasoning_pieces]
        self._pending_chars -= len(pending.visible) + len(pending.reasoning)
        if len(self.beginning) < BEGINNING_CHARS:
            self.beginning += pending.visible[: BEGINNING_CHARS - len(self.beginning)]
        self.visible += counted.visible
        self.reasoning += counted.reasoning

    def tokens(self) -> int:
        """All tokens so far."""
        if self._pending_chars:
            self.counted(self.count(self.pending()))
        return self.visible + self.reasoning

    def at_most(self) -> int:
        """No fewer tokens than there are, uncounted: one is at least a byte, a character at most four."""
        return self.visible + self.reasoning + 4 * self._pending_chars

    def overruns(self, output_limit: int) -> bool:
        """Whether an upstream that ignores its limit must be stopped."""
        return self.tokens() > overrun_bound(output_limit)


def overrun_bound(output_limit: int) -> int:
    """What an answer may come to before its upstream is stopped. Tokenizers differ, so the bound is the one
    for a believable claim: twice our count plus 64."""
    return 2 * output_limit + OUTPUT_CLAIM_SLACK_TOKENS
