"""A list of what is wrong with a data set, grouped by rule."""

import reprlib
from dataclasses import dataclass, field

EXAMPLES = 3  # shown of each rule

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

    def add(self, example: str, count: int = 1) -> None:
        """Count records and keep the first examples."""
        self.count += count
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

    Attributes:
        errors: by rule, the records that break it.
        notes: by remark, the records that it is about.
    """

    def __init__(self) -> None:
        self.errors: dict[str, Group] = {}
        self.notes: dict[str, Group] = {}

    def error(self, rule: str, record: str = '', found: object = None) -> None:
        """Add a record that breaks a rule; ``found`` is shown shortened."""
        if found is not None:
            record += f' has {_short.repr(found)}' if record else f'found {_short.repr(found)}'
        self.errors.setdefault(rule, Group()).add(record)

    def note(self, remark: str, record: str = '', count: int = 1) -> None:
        """Add records that are used, or left out, as MMDetection does it."""
        self.notes.setdefault(remark, Group()).add(record, count)

    def error_lines(self) -> list[str]:
        """One line for each rule that is broken."""
        return [f'{rule}: {group}' for rule, group in self.errors.items()]

    def note_lines(self) -> list[str]:
        """One line for each remark."""
        return [f'{group.count} {remark}' for remark, group in self.notes.items()]
