"""Questions whose answers are known: asked of partners' machines as if a customer asked.

Each is made up anew from chance, so that no answer can be kept ready, and has a `twin`: the same question but
for one word or number, with another answer, which a cache of similar questions gets wrong. `draw(n)` is a
number from 0 below n; whoever serves must not be able to foresee it. A model of the 70B class answers nearly
all of them right.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.policy.canary_words import CITIES, COLOURS, NAMES, PLACES, PLURALS, THINGS
from llmdeal_litellm.policy.strict_json import parse_object

T = TypeVar("T")
Draw = Callable[[int], int]

WORD = re.compile(r"[A-Za-z]+")
NUMBER = re.compile(r"\d+")
TOKENS_PER_FACT = 14
FACTS_MIN, FACTS_MAX = 6, 30
"""Of one text: enough for a doubled claim to show, and as many as there are places to name."""
SYSTEM = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Be brief.",
    "Answer in English, in as few words as you can.",
    "You help the staff of a small firm. Keep to the facts that you are given.",
)


class Canary(Protocol):
    """One question. `is_right` judges the text of an answer, however it is worded."""

    @property
    def text(self) -> str:
        """What is asked."""

    def is_right(self, answer: str) -> bool:
        """Whether the answer is the known one."""

    def twin(self, draw: Draw) -> "Canary":
        """The same but for one word, with another answer."""


def one_of(values: Sequence[T], draw: Draw) -> T:
    """Any of them."""
    return values[draw(len(values))]


def some_of(values: Sequence[T], count: int, draw: Draw) -> list[T]:
    """So many different ones, in any order."""
    left = list(values)
    return [left.pop(draw(len(left))) for _ in range(count)]


def other_than(value: T, values: Sequence[T], draw: Draw) -> T:
    """Any of them but this one."""
    return one_of([v for v in values if v != value], draw)


def _words(answer: str) -> list[str]:
    return [word.casefold() for word in WORD.findall(answer)]


@dataclass(frozen=True, slots=True)
class Fact:
    """A thing that somebody left somewhere."""

    name: str
    colour: str
    thing: str
    place: str

    @property
    def text(self) -> str:
        """A sentence."""
        return f"{self.name} left the {self.colour} {self.thing} in the {self.place}."


def _facts(size: int, draw: Draw) -> tuple[Fact, ...]:
    """Sentences of about `size` tokens in all. Names, things and places differ from one to the next."""
    count = max(FACTS_MIN, min(FACTS_MAX, size // TOKENS_PER_FACT))
    names, things, places = (some_of(words, count, draw) for words in (NAMES, THINGS, PLACES))
    return tuple(Fact(n, one_of(COLOURS, draw), t, p) for n, t, p in zip(names, things, places, strict=True))


@dataclass(frozen=True, slots=True)
class Whose:
    """Find who left a thing."""

    facts: tuple[Fact, ...]
    at: int
    phrase: str

    PHRASES = (
        "{notes}\n\nWho left the {thing}? Answer with the name only.",
        "Here are my notes from yesterday.\n\n{notes}\n\nI forgot who left the {thing}. What is the name?",
        "Read this and tell me the name of the person who left the {thing}:\n{notes}",
    )

    @classmethod
    def made(cls, size: int, draw: Draw) -> "Whose":
        """One of about so many tokens."""
        facts = _facts(size, draw)
        return cls(facts, draw(len(facts)), one_of(cls.PHRASES, draw))

    @property
    def text(self) -> str:
        """See `Canary.text`."""
        notes = " ".join(fact.text for fact in self.facts)
        return self.phrase.format(notes=notes, thing=self.facts[self.at].thing)

    def is_right(self, answer: str) -> bool:
        """See `Canary.is_right`. An answer with several of the names names nobody."""
        said = set(_words(answer)) & {fact.name.casefold() for fact in self.facts}
        return said == {self.facts[self.at].name.casefold()}

    def twin(self, draw: Draw) -> "Whose":
        """Of another thing."""
        return replace(self, at=other_than(self.at, range(len(self.facts)), draw))


@dataclass(frozen=True, slots=True)
class Where:
    """Find where a thing was left, told by its name in the same text."""

    facts: tuple[Fact, ...]
    at: int
    phrase: str

    PHRASES = (
        "{notes}\n\nIn which room or place is {name}'s {thing}? One word.",
        "{name} wants the {thing} back. Where is it, according to this? {notes} Reply with the place only.",
        "Find the place where {name} left the {thing}.\n\n{notes}",
    )

    @classmethod
    def made(cls, size: int, draw: Draw) -> "Where":
        """One of about so many tokens."""
        facts = _facts(size, draw)
        return cls(facts, draw(len(facts)), one_of(cls.PHRASES, draw))

    @property
    def text(self) -> str:
        """See `Canary.text`."""
        fact, notes = self.facts[self.at], " ".join(fact.text for fact in self.facts)
        return self.phrase.format(notes=notes, name=fact.name, thing=fact.thing)

    def is_right(self, answer: str) -> bool:
        """See `Canary.is_right`."""
        said = set(_words(answer)) & {fact.place for fact in self.facts}
        return said == {self.facts[self.at].place}

    def twin(self, draw: Draw) -> "Where":
        """Of a thing that was left elsewhere."""
        fact = self.facts[self.at]
        place = other_than(fact.place, [p for p in PLACES if p not in {f.place for f in self.facts}], draw)
        moved = (*self.facts[: self.at], replace(fact, place=place), *self.facts[self.at + 1 :])
        return replace(self, facts=moved)


@dataclass(frozen=True, slots=True)
class HowMany:
    """Add and subtract small numbers, among facts that do not matter."""

    facts: tuple[Fact, ...]
    name: str
    what: str
    had: int
    gave: int
    got: int
    phrase: str

    PHRASES = (
        "{notes} {name} had {had} {what}, gave {gave} of them away and then bought {got} more. "
        "How many {what} does {name} have now? Give just the number.",
        "{notes}\n\n{name} starts with {had} {what}. {name} loses {gave} and finds {got}. "
        "How many {what} are there in the end? Only the number, please.",
    )

    @classmethod
    def made(cls, size: int, draw: Draw) -> "HowMany":
        """One of about so many tokens."""
        had, gave = 12 + draw(30), 2 + draw(9)
        got = other_than(gave, range(2, 11), draw)
        phrase, name, what = one_of(cls.PHRASES, draw), one_of(NAMES, draw), one_of(PLURALS, draw)
        return cls(_facts(size - 50, draw), name, what, had, gave, got, phrase)

    @property
    def text(self) -> str:
        """See `Canary.text`."""
        notes = " ".join(fact.text for fact in self.facts)
        return self.phrase.format(
            notes=notes, name=self.name, what=self.what, had=self.had, gave=self.gave, got=self.got
        )

    def is_right(self, answer: str) -> bool:
        """See `Canary.is_right`. Whoever shows the way there ends with the result."""
        found = NUMBER.findall(answer)
        return bool(found) and found[-1] == str(self.had - self.gave + self.got)

    def twin(self, draw: Draw) -> "HowMany":
        """With another number."""
        return replace(self, had=other_than(self.had, range(12, 42), draw))


@dataclass(frozen=True, slots=True)
class InOrder:
    """Put words in alphabetical order."""

    things: tuple[str, ...]
    phrase: str

    PHRASES = (
        "Put these words in alphabetical order, separated by commas: {things}",
        "Sort this list from A to Z and give me nothing but the sorted list, with commas.\n\n{things}",
        "I need these labels sorted alphabetically, comma separated: {things}. Just the list.",
    )

    @classmethod
    def made(cls, size: int, draw: Draw) -> "InOrder":
        """One of a few words, whatever the size: long lists are hard."""
        initials: dict[str, str] = {}
        for thing in some_of(THINGS, len(THINGS), draw):
            initials.setdefault(thing[0], thing)
        things = list(initials.values())[: 5 + draw(3)]
        if things == sorted(things):
            things.reverse()
        return cls(tuple(things), one_of(cls.PHRASES, draw))

    @property
    def text(self) -> str:
        """See `Canary.text`."""
        return self.phrase.format(things=", ".join(self.things))

    def is_right(self, answer: str) -> bool:
        """See `Canary.is_right`. The list may be repeated before it is sorted."""
        said = [word for word in _words(answer) if word in self.things]
        return said[-len(self.things) :] == sorted(self.things)

    def twin(self, draw: Draw) -> "InOrder":
        """With another word in the place of one."""
        at = draw(len(self.things))
        others = [t for t in THINGS if t[0] not in {thing[0] for thing in self.things}]
        return replace(self, things=(*self.things[:at], one_of(others, draw), *self.things[at + 1 :]))


@dataclass(frozen=True, slots=True)
class AsJson:
    """Put what a sentence says into JSON."""

    name: str
    age: int
    city: str
    facts: tuple[Fact, ...]
    phrase: str

    PHRASES = (
        "Turn this into one JSON object with the keys name, age and city. "
        "{name}, who is {age} years old, lives in {city}. {notes}",
        "{notes}\n{name} ({age}) comes from {city}. "
        "Write name, age and city of that person as a JSON object and nothing else.",
    )

    @classmethod
    def made(cls, size: int, draw: Draw) -> "AsJson":
        """One of about so many tokens."""
        facts = _facts(size - 50, draw)
        name = one_of([n for n in NAMES if n not in {f.name for f in facts}], draw)
        return cls(name, 19 + draw(60), one_of(CITIES, draw), facts, one_of(cls.PHRASES, draw))

    @property
    def text(self) -> str:
        """See `Canary.text`."""
        notes = " ".join(fact.text for fact in self.facts)
        return self.phrase.format(notes=notes, name=self.name, age=self.age, city=self.city)

    def is_right(self, answer: str) -> bool:
        """See `Canary.is_right`. A fence around it, and an age in quotes, are fine."""
        begin, end = answer.find("{"), answer.rfind("}")
        try:
            found = parse_object(answer[begin : end + 1].encode(errors="replace"))
        except InvalidRequest:
            return False
        said = (str(found.get("name")), str(found.get("age")), str(found.get("city")))
        return said == (self.name, str(self.age), self.city)

    def twin(self, draw: Draw) -> "AsJson":
        """In another city."""
        return replace(self, city=other_than(self.city, CITIES, draw))


@dataclass(frozen=True, slots=True)
class Replaced:
    """Write a text again with one word exchanged: a longer answer, which shows what cuts answers."""

    facts: tuple[Fact, ...]
    at: int
    into: str
    phrase: str

    PHRASES = (
        "Write the following text again, word for word, but with {into} in the place of {name}:\n\n{notes}",
        "{notes}\n\nCopy this text exactly and change one thing: wherever it says {name}, write {into}.",
    )

    @classmethod
    def made(cls, size: int, draw: Draw) -> "Replaced":
        """One of a few sentences, whatever the size: what is copied is paid for twice."""
        facts = _facts(0, draw)
        into = one_of([n for n in NAMES if n not in {f.name for f in facts}], draw)
        return cls(facts, draw(len(facts)), into, one_of(cls.PHRASES, draw))

    @property
    def text(self) -> str:
        """See `Canary.text`."""
        notes = " ".join(fact.text for fact in self.facts)
        return self.phrase.format(notes=notes, name=self.facts[self.at].name, into=self.into)

    def is_right(self, answer: str) -> bool:
        """See `Canary.is_right`. Words of its own may stand before and after it."""
        facts = (
            *self.facts[: self.at],
            replace(self.facts[self.at], name=self.into),
            *self.facts[self.at + 1 :],
        )
        wanted = " ".join(word for fact in facts for word in _words(fact.text))
        return f" {wanted} " in f" {' '.join(_words(answer))} "

    def twin(self, draw: Draw) -> "Replaced":
        """Of another name."""
        taken = {self.into, *(fact.name for fact in self.facts)}
        return replace(self, into=one_of([n for n in NAMES if n not in taken], draw))


KINDS: tuple[Callable[[int, Draw], Canary], ...] = (
    Whose.made,
    Where.made,
    HowMany.made,
    InOrder.made,
    AsJson.made,
    Replaced.made,
)


def new_canary(size: int, draw: Draw, before: Canary | None = None) -> Canary:
    """A question of about `size` tokens, as far as its kind allows; now and then the twin of the one
    `before`."""
    if before is not None and draw(3) == 0:
        return before.twin(draw)
    return one_of(KINDS, draw)(size, draw)
