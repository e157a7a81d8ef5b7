"""Aliases, models and keys as they may be written, and the verdicts on a key that was tried."""

from collections.abc import Callable

import pytest

from llmdeal_litellm.accounts.byo import byo_key
from llmdeal_litellm.accounts.byo_admin import BadByo, check_alias, check_key, check_model
from llmdeal_litellm.catalog.facts import NotServed, facts_of
from llmdeal_litellm.catalog.model import Kind, Secret
from llmdeal_litellm.cli.byo_probe import Verdict, probe
from llmdeal_litellm.upstream.codecs.table import BYO_ADDRESSES, UnknownByoProvider, byo_addresses

GOOD: dict[Callable[[str], None], tuple[str, ...]] = {
    check_alias: ("byo-a", "byo-openai-gpt-4o", "byo-" + "x" * 56, "byo-4.1", "byo--"),
    check_model: ("gpt-4o", "meta/llama-3.3-70b", "ft:gpt-4o:acme::1a"),
    check_key: ("12345678", "x" * 512, "sk-!~'\"%"),
}
BAD: dict[Callable[[str], None], tuple[str, ...]] = {
    check_alias: (
        "",
        "byo-",
        "byo-" + "x" * 57,
        "byo-A",
        "byo-a/b",
        "byo-a_b",
        "BYO-a",
        "smart-route",
        "byo-a\n",
    ),
    check_model: ("", "a b", "a?key=b", "a#b", "modèle", "a\nb", "x" * 201, "a\\b"),
    check_key: (
        "",
        "1234567",
        "x" * 513,
        "a b c d e f",
        "12345678\n",
        "1234\r\n5678",
        "12345678\t",
        "schlüssel",
    ),
}


@pytest.mark.parametrize("check", GOOD, ids=lambda check: check.__name__)
def test_what_may_be_written(check: Callable[[str], None]) -> None:
    """Each bound from inside."""
    for text in GOOD[check]:
        check(text)


@pytest.mark.parametrize("check", BAD, ids=lambda check: check.__name__)
def test_what_may_not(check: Callable[[str], None]) -> None:
    """Each bound from outside; of a key the message has nothing."""
    for text in BAD[check]:
        with pytest.raises(BadByo) as refused:
            check(text)
        if check is check_key and text:
            assert text not in str(refused.value)


def test_what_is_known_of_models() -> None:
    """By the provider's own name of the model, and of no other provider's."""
    for provider, model, window, output, kind in (
        ("openai", "gpt-4o", 128_000, 16_384, Kind.CHAT),
        ("gemini", "gemini-2.5-flash", 1_048_576, 65_536, Kind.CHAT),
        ("openai", "text-embedding-3-small", 8_191, 4_096, Kind.EMBEDDING),
    ):
        facts = facts_of(provider, model)
        assert facts is not None
        assert (facts.context_window, facts.max_output_tokens, facts.kind) == (window, output, kind)
    assert facts_of("groq", "gpt-4o") is None
    assert facts_of("openai", "no-such-model") is None
    with pytest.raises(NotServed, match="audio_transcription"):
        facts_of("openai", "whisper-1")


def test_the_closed_list_of_providers() -> None:
    """An operator may shorten it and move an address, and nobody can make it longer."""
    assert byo_addresses(None) == dict(BYO_ADDRESSES)
    assert all(address.startswith("https://") for address in BYO_ADDRESSES.values())
    moved = byo_addresses({"groq": None, "openai": "http://127.0.0.1:1/v1"})
    assert moved == {"groq": BYO_ADDRESSES["groq"], "openai": "http://127.0.0.1:1/v1"}
    with pytest.raises(UnknownByoProvider, match="allowed: openai"):
        byo_addresses({"acme": "https://acme.test/v1"})


def test_a_provider_that_is_not_there_says_nothing_of_the_key() -> None:
    """Neither taken nor refused."""
    row = ("a", "byo-x", "groq", "m", "chat", 1000, 100, 0, 0, None, "", b"", 1)
    verdict, said = probe(byo_key(row).as_alias("http://127.0.0.1:9/v1", Secret("own-0123456789")))
    assert verdict is Verdict.UNCLEAR
    assert "try again" in said
