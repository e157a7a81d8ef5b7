"""Our own count of what has been delivered of one answer."""

from llmdeal_litellm.limits import OUTPUT_CLAIM_SLACK_TOKENS
from llmdeal_litellm.policy.answer import Answer, Delta
from llmdeal_litellm.policy.tokens import TokenCounter


class Delivered:
    """Counts tokens of text, tool calls and reasoning. Text is counted when a number is asked for, not
    per piece: a piece costs one list append."""

    def __init__(self, count: TokenCounter) -> None:
        self._count = count
        self._visible: list[str] = []
        self._reasoning: list[str] = []
        self._counted_visible = 0
        self._counted_reasoning = 0
        self._pending_chars = 0

    def add(self, piece: Delta | Answer) -> None:
        """Take a piece of the answer."""
        for text in (piece.content, piece.refusal, *((c.name or "") + c.arguments for c in piece.tool_calls)):
            if text:
                self._visible.append(text)
                self._pending_chars += len(text)
        if piece.reasoning:
            self._reasoning.append(piece.reasoning)
            self._pending_chars += len(piece.reasoning)

    def tokens(self) -> int:
        """All tokens so far."""
        found = self.visible + self.reasoning
        self._pending_chars = 0
        return found

    @property
    def visible(self) -> int:
        """Tokens of text and tool calls."""
        if self._visible:
            self._counted_visible += self._count("".join(self._visible))
            self._visible.clear()
        return self._counted_visible

    @property
    def reasoning(self) -> int:
        """Tokens of reasoning text."""
        if self._reasoning:
            self._counted_reasoning += self._count("".join(self._reasoning))
            self._reasoning.clear()
        return self._counted_reasoning

    def overruns(self, output_limit: int) -> bool:
        """Whether an upstream that ignores its limit must be stopped.

        Tokenizers differ, so the bound is the one for a believable claim: twice our count plus 64. A token
        is at least one byte and a character at most four, so nothing is counted before it can matter.
        """
        bound = 2 * output_limit + OUTPUT_CLAIM_SLACK_TOKENS
        if self._counted_visible + self._counted_reasoning + 4 * self._pending_chars <= bound:
            return False
        return self.tokens() > bound
