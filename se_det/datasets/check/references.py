"""What an id in an annotation refers to, also where it is written in another way: 7, 7.0, '7'."""

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Any

INTEGER = re.compile(r'\s*([+-]?[0-9]{1,18})(\.0*)?\s*')


class References:
    """The records of a list, by their ids.

    An id is found as it is; else as another way to write the same; else by a record's name.
    """

    def __init__(self) -> None:
        self._exact: dict[Hashable, list] = defaultdict(list)
        self._similar: dict[Hashable, list] = defaultdict(list)

    def add(self, key: Any, record: Any, name: str) -> None:
        """Add a record under its id and its name, which is found if no id is."""
        self._exact[key].append(record)
        for similar in {as_number(key), name}:
            self._similar[similar].append(record)

    def find(self, key: Any) -> list:
        """The records that an id can refer to: none, one, or several readings."""
        if not is_id(key):
            return []
        similar = (r for k in (key, as_number(key)) for r in self._similar.get(k, ()))
        return list({id(r): r for r in self._exact.get(key) or similar}.values())


def is_id(value: Any) -> bool:
    """Whether a value can be an id: text or a finite number."""
    is_finite = isinstance(value, float) and math.isfinite(value)
    return (isinstance(value, (str, int)) and type(value) is not bool) or is_finite


def as_number(key: str | float) -> str | float:
    """An id as an integer if it is one in other clothes; else as it is."""
    if isinstance(key, float) and key.is_integer():
        return int(key)
    match = INTEGER.fullmatch(key) if isinstance(key, str) else None
    return int(match[1]) if match else key


def unused(taken: set) -> Iterator[int]:
    """Integers from 1 that are not taken."""
    return (number for number in count(1) if number not in taken)
