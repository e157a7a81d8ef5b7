"""Small values that requests are made of, never changed once they are made: the type checker sees to it.

`dataclass(frozen=True)` sees to it when the program runs, too, by a call for each field of each object: one
with many fields takes several times as long to make. A request makes dozens of them, a stream one for each
chunk.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """A dataclass with slots, equal and hashed by its fields, that is not to be changed."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
