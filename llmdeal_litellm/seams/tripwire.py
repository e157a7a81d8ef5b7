"""What stands behind the edge: LiteLLM's own routes refuse every request."""

from litellm.proxy._types import ProxyException

from llmdeal_litellm.errors import NotFound


class Unreachable(ProxyException):  # type: ignore[misc]  # LiteLLM's classes are untyped here
    """The refusal, in our envelope: LiteLLM renders what `to_dict` returns."""

    def __init__(self) -> None:
        self.shown = NotFound()
        super().__init__(self.shown.message, self.shown.type, None, self.shown.status)

    def to_dict(self) -> dict[str, str]:
        return self.shown.envelope()["error"]


async def custom_auth(request: object, api_key: str) -> None:
    """LiteLLM's authentication hook. Raises for every request: nothing is served behind the edge."""
    raise Unreachable
