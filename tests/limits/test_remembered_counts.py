"""Counts that are remembered: the same numbers, bounded, and nothing of one account for another."""

from concurrent.futures import ThreadPoolExecutor

from llmdeal_litellm.remembered_counts import SHORT_CHARS, RememberedCounts


class Counter:
    """Counts characters, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> int:
        self.asked.append(text)
        return len(text)


def long(letter: str, more: int = 1) -> str:
    """A text that is worth remembering."""
    return letter * (SHORT_CHARS + more)


def test_a_text_is_counted_once() -> None:
    """Another time it is known; a short one is not worth it."""
    counter = Counter()
    count = RememberedCounts(counter).of("a")
    assert [count(long("x")) for _ in range(3)] == [SHORT_CHARS + 1] * 3
    assert [count("short") for _ in range(2)] == [5, 5]
    assert counter.asked == [long("x"), "short", "short"]


def test_what_comes_with_every_message_is_given() -> None:
    """It is never counted; what it is a part of is."""
    counter = Counter()
    count = RememberedCounts(counter, given={"user": 1}).of("a")
    assert [count("user"), count("user"), count("users")] == [1, 1, 5]
    assert counter.asked == ["users"]


def test_texts_of_one_length_are_told_apart() -> None:
    """It is the text that is known, not its length."""
    counts = RememberedCounts(lambda text: text.count("x")).of("a")
    assert (counts(long("x")), counts(long("y")), counts(long("x"))) == (SHORT_CHARS + 1, 0, SHORT_CHARS + 1)


def test_an_account_learns_nothing_of_what_others_sent() -> None:
    """What one has sent is counted anew for another."""
    counter = Counter()
    counts = RememberedCounts(counter)
    for account in ("a", "b", "a", "b"):
        counts.of(account)(long("x"))
    assert counter.asked == [long("x")] * 2


def test_what_was_asked_for_longest_ago_is_forgotten() -> None:
    """The bound is for all accounts together."""
    counter = Counter()
    counts = RememberedCounts(counter, most=2)
    for account, letter in (("a", "x"), ("b", "y"), ("a", "x"), ("a", "z"), ("a", "x"), ("b", "y")):
        counts.of(account)(long(letter))
    assert [text[0] for text in counter.asked] == ["x", "y", "z", "y"]


def test_threads_share_it() -> None:
    """Many at once, with room for few."""
    counts = RememberedCounts(len, most=3).of("a")
    texts = [long("x", n % 7) for n in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(counts, texts)) == [len(text) for text in texts]
