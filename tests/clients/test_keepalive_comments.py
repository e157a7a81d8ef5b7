"""Comments in a stream that falls silent, so that nothing in between takes it for dead."""

from place import Place

from llmdeal_litellm.policy.answer import KEEPALIVE
from llmdeal_litellm.seams.http import HttpExchange, Message

COMMENT = b": keep-alive\n\n"
ROLE_EVENT = 1
COMMENTS = 3


def test_a_silent_stream_has_comments(place: Place) -> None:
    """After its first piece the upstream falls silent: one comment after the other, and no other event."""
    place.script("hang", after_chunks=ROLE_EVENT + 1)
    call = place.call("say 40 words", stream=True)
    for _ in range(COMMENTS):
        call.read_up_to(COMMENT)
    assert len(call.events) == 1
    call.close()
    place.reached("hangups", at_least=1)

    assert place.only_end()["rule"] == "caller_left"


def test_a_stream_goes_on_after_its_comments(place: Place) -> None:
    """An upstream that pauses: comments stand between whole events, and the answer is complete."""
    place.script("slow", delay_ms=600)
    call = place.call("say 3 words", stream=True).read_all()

    body = call.received.partition(b"\r\n\r\n")[2]
    assert body.count(COMMENT) >= COMMENTS
    assert body.index(b"data: ") < body.index(COMMENT)
    assert COMMENT not in body[body.index(b'"finish_reason":"stop"') :]
    assert call.events[-1] == b"[DONE]"
    assert len(call.content.split()) == 3
    assert place.only_end()["rule"] == "completed"


def test_nothing_is_sent_before_the_first_piece(place: Place) -> None:
    """Until then a failure can be a plain error, so there is no comment, however long it takes."""
    place.script("hang", after_chunks=ROLE_EVENT)
    place.script("hang", after_chunks=ROLE_EVENT + 1)
    silent = place.call("say 40 words", stream=True)
    place.reached("open", at_least=1)
    other = place.call("say 40 words", stream=True)
    for _ in range(COMMENTS):
        other.read_up_to(COMMENT)
    assert silent.has_received_nothing()
    silent.close()
    other.close()
    place.reached("hangups", at_least=2)

    assert sorted(end["output_tokens"] > 0 for end in place.ends(2)) == [False, True]


async def test_no_comment_follows_the_last_piece() -> None:
    """A stream that ends at the very moment a comment is due stays as it ended."""
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    http = HttpExchange({"headers": []}, receive, send, "req_0", unread_s=5)
    http.start_stream()
    first = await http.send_comment(KEEPALIVE)
    await http.send_piece(b"data: [DONE]\n\n", last=True)
    second = await http.send_comment(KEEPALIVE)

    assert (first, second) == (True, False)
    assert sent[1:] == [KEEPALIVE, b"data: [DONE]\n\n"]
