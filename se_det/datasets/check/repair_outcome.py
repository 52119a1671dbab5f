"""What a repair did: counted changes, records left out, and what has two readings."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from se_det.datasets.check.problems import Problems

DROP = 'drop'


@dataclass
class ImageFiles:
    """What a repair needs of the image files, all by their names in the annotations.

    Attributes:
        paths: where files are that are not at their name.
        sizes: width and height, None for files that cannot be read.
        turned: files that OpenCV turns, as their EXIF data say.
    """

    paths: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    turned: set[str] = field(default_factory=set)


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
        self.changes: Counter = Counter()
        self.left_out = Problems()
        self.unclear = Problems()

    def count(self, change: str, count: int = 1) -> None:
        """Count records that were changed."""
        if count:
            self.changes[change] += count

    def leave_out(self, reason: str, record: str, found: Any = None) -> None:
        """Note a record that has no certain meaning."""
        self.left_out.error(reason, record, found)

    def refuse(self, rule: str, readings: str, can_be_left_out: bool = True) -> None:
        """Note a record that has two readings; the user may choose to leave it out."""
        if can_be_left_out and DROP in self.choices:
            self.leave_out(rule, readings)
        else:
            self.unclear.error(rule, readings)
