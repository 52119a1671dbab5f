"""Lists of what is wrong with a data set and of what a repair did, grouped by rule."""

import reprlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

EXAMPLES = 3  # shown of each rule
DROP = 'drop'  # a choice: leave out what has two readings

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def printable(text: str) -> str:
    """Text without lone surrogates, which JSON can hold and no stream prints."""
    return text.encode(errors='backslashreplace').decode()


@dataclass
class Group:
    """The records that break one rule."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count a record and keep the first examples."""
        self.count += 1
        if example and len(self.examples) < EXAMPLES:
            self.examples.append(printable(example))

    def __str__(self) -> str:
        more = self.count - len(self.examples)
        shown = '; '.join(self.examples)
        if not shown:
            return str(self.count)
        return f'{shown}; and {more} more' if more > 0 else shown


class Problems:
    """Errors, which training must not start with, and notes, which the log shows.

    Notes are about records that are used, or left out, as MMDetection does it.

    Attributes:
        errors: by rule, the records that break it.
        notes: by remark, how many records it is about.
    """

    def __init__(self) -> None:
        self.errors: dict[str, Group] = {}
        self.notes: Counter[str] = Counter()

    def error(self, rule: str, record: str = '', found: object = None) -> None:
        """Add a record that breaks a rule; ``found`` is shown shortened."""
        if found is not None:
            record += f' has {_short.repr(found)}' if record else f'found {_short.repr(found)}'
        self.errors.setdefault(rule, Group()).add(record)

    def error_lines(self) -> list[str]:
        """One line for each rule that is broken."""
        return [f'{rule}: {group}' for rule, group in self.errors.items()]

    def note_lines(self) -> list[str]:
        """One line for each remark."""
        return [f'{count} {remark}' for remark, count in self.notes.items()]


class Repairs:
    """What a repair did.

    Args:
        choices: what the user has chosen of two readings.

    Attributes:
        changes: how many records each change was made to.
        left_out: records without a certain meaning, by reason.
        unclear: records with two readings, by rule.
    """

    def __init__(self, choices: Collection[str] = ()) -> None:
        self.choices = choices
        self.changes: Counter[str] = Counter()
        self.left_out = Problems()
        self.unclear = Problems()

    def refuse(self, rule: str, readings: str) -> None:
        """Note an annotation that has two readings; the user may choose to leave it out."""
        (self.left_out if DROP in self.choices else self.unclear).error(rule, readings)
