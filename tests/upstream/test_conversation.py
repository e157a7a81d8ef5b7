"""What the OpenAI wire allows in messages and wires with two roles do not."""

import pytest
from native import called, result, user

from llmdeal_litellm.policy.messages import TextPart, ToolCall, parse_messages
from llmdeal_litellm.upstream.codecs.conversation import OPENING, Conversation, ToolResult, conversation
from llmdeal_litellm.upstream.codecs.wire import CannotHonour


def of(*messages: object) -> Conversation:
    """The conversation of a caller's messages."""
    return conversation(parse_messages(list(messages)))


def texts(found: Conversation) -> list[tuple[bool, list[str]]]:
    """Side and texts of each turn."""
    return [(t.by_user, [i.text for i in t.items if isinstance(i, TextPart)]) for t in found.turns]


def said(role: str, text: str) -> dict[str, str]:
    """A message of one text."""
    return {"role": role, "content": text}


def test_system_texts_stand_apart_wherever_they_stood() -> None:
    """System and developer messages keep their order and leave the turns."""
    found = of(said("system", "a"), user("b"), said("developer", "c"), user("d"))

    assert found.system == ("a", "c")
    assert texts(found) == [(True, ["b", "d"])]


def test_consecutive_messages_of_one_side_are_one_turn() -> None:
    """Sides take turns, and each text stays a text of its own."""
    found = of(user("a"), user("b"), said("assistant", "c"), said("assistant", "d"), user("e"))

    assert texts(found) == [(True, ["a", "b"]), (False, ["c", "d"]), (True, ["e"])]


def test_blank_texts_are_left_out() -> None:
    """Neither wire takes them; a message of nothing else is no turn."""
    found = of(said("system", " "), user("a"), said("assistant", "\n"), user(""), user("b"))

    assert found.system == ()
    assert texts(found) == [(True, ["a", "b"])]


def test_instructions_alone_are_the_question() -> None:
    """A request of system messages only is answered on the OpenAI wire, so here too."""
    found = of(said("system", "Tell a joke."))

    assert (found.system, texts(found)) == ((), [(True, ["Tell a joke."])])


def test_the_user_begins() -> None:
    """A conversation that the assistant opens gets a turn before it."""
    assert texts(of(said("assistant", "Hi!"), user("a")))[0] == (True, [OPENING.text])


@pytest.mark.parametrize("messages", [[user("")], [user(" "), said("assistant", "")]], ids=["empty", "blank"])
def test_nothing_at_all_is_refused(messages: list[object]) -> None:
    """The member is ruled out, so that a lane can offer another."""
    with pytest.raises(CannotHonour, match="without a text"):
        of(*messages)


def test_results_stand_in_the_order_of_their_calls() -> None:
    """Gemini matches results with calls by place alone; clients send them as they come in."""
    found = of(
        user("q"),
        called(("1", "look", "{}"), ("2", "look", "{}"), ("3", "hear", "{}")),
        result("3", "three"),
        result("1", "one"),
        user("and?"),
        result("2", "two"),
    )

    first = ToolCall("1", "look", "{}")
    assert found.turns[2].items == [
        ToolResult(first, "one"),
        ToolResult(ToolCall("2", "look", "{}"), "two"),
        ToolResult(ToolCall("3", "hear", "{}"), "three"),
        TextPart("and?"),
    ]
    assert found.called == ("look", "hear")
    assert found.in_tool_loop


def test_a_result_without_its_call_is_refused() -> None:
    """Nobody could say which tool it is of."""
    with pytest.raises(CannotHonour, match="without the call"):
        of(user(), result("call_9", "22"))


def test_an_id_that_is_used_again_means_the_newest_call() -> None:
    """Clients that number the calls of each turn from zero."""
    found = of(
        user("q"),
        called(("0", "look", "{}")),
        result("0", "a"),
        called(("0", "hear", "{}")),
        result("0", "b"),
    )

    results = [i for t in found.turns for i in t.items if isinstance(i, ToolResult)]
    assert [(r.call.name, r.text) for r in results] == [("look", "a"), ("hear", "b")]
