"""What a comparison found, as values, in words and in a table."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """One metric of both sides.

    Values are pycocotools', from 0 to 1, or -1 where no object is there to find.

    Attributes:
        baseline: mean over its seeds.
        candidate: likewise.
        difference: candidate minus baseline; None where there is nothing to compare.
        low: the lower end of the interval of the difference, or None.
        high: the upper end.
        baseline_seeds: the value of each seed, in the order of the files.
        candidate_seeds: likewise.
    """

    baseline: float
    candidate: float
    difference: float | None
    low: float | None
    high: float | None
    baseline_seeds: tuple[float, ...]
    candidate_seeds: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline.

    Attributes:
        metric: ``'bbox'`` or ``'segm'``.
        metrics: COCO's twelve: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl.
        classes: AP of each class, by name.
        seeds: result files a side that differ.
        images: images in the annotations.
        resamples: draws of images.
        confidence: of the intervals, 0.95; of those of all looks together, where several were
            planned.
        paired: whether each seed is compared with the same of the other side.
        looks: the numbers of seeds a side at which the experiment was planned to be looked at.
        groups: how many groups of images were drawn; None if images were.
        repeated: files with the content of another of their side, which are no seeds.
    """

    metric: str
    metrics: dict[str, Difference]
    classes: dict[str, Difference]
    seeds: int
    images: int
    resamples: int
    confidence: float
    paired: bool
    looks: tuple[int, ...]
    groups: int | None
    repeated: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """What AP's interval shows, of two checkpoints or of seeds, and what it covers."""
        ap, seeds = self.metrics['AP'], self.seeds
        if ap.difference is None:
            return 'The annotations have no object to find: there is nothing to compare.'
        low, high = 100 * ap.low, 100 * ap.high
        side = 1 if low > 0 else -1 if high < 0 else 0
        images, units = f'{self.images} images', 'images'
        if self.groups:
            images, units = f'{images} in {self.groups} groups', 'groups of images'
        if seeds == 1:
            says = 'These two checkpoints ' + ('differ' if side else 'show no difference')
            counted = 'one seed a side'
            covers = (
                f'the choice of {units} only: with one seed a side, nothing is known of other '
                'seeds, and runs of one config differ by several tenths of AP.'
            )
        else:
            answers = 'No difference is shown', 'The candidate is better', 'The candidate is worse'
            says = answers[side]
            counted = f'{seeds} pairs of seeds' if self.paired else f'{seeds} seeds a side'
            unsure = '; with two seeds a side the spread between seeds is hardly known'
            covers = f'the choice of {units} and of seeds{unsure if seeds == 2 else ""}.'
        parts = [
            f'{says}: AP {100 * ap.difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, from '
            f'{images} and {counted}.',
            f'It covers {covers}',
        ]
        if len(looks := self.looks) > 1:
            parts.append(
                f'This is look {looks.index(seeds) + 1} of the {len(looks)} that were planned, at '
                f'{", ".join(map(str, looks))} seeds a side; the intervals are adjusted for all.'
            )
        return ' '.join([*parts, *(f'{repeat}.' for repeat in self.repeated)])

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a dict that ``json.dump`` takes."""
        return {**asdict(self), 'verdict': self.verdict}

    def to_table(self) -> str:
        """Return Markdown: the twelve metrics, the classes, the verdict; values times 100."""
        parts = [
            _rows(f'{self.metric}, %', self.metrics),
            _rows('AP of a class, %', self.classes),
            self.verdict,
        ]
        return '\n\n'.join(parts)


def _rows(title: str, differences: dict[str, Difference]) -> str:
    lines = [
        f'| {title} | baseline | candidate | difference | 95 % interval |',
        '|---|---|---|---|---|',
    ]
    for name, found in differences.items():
        if found.difference is None:
            lines.append(f'| {name} | - | - | - | - |')
        else:
            baseline, candidate = 100 * found.baseline, 100 * found.candidate
            difference, low, high = 100 * found.difference, 100 * found.low, 100 * found.high
            lines.append(
                f'| {name} | {baseline:.2f} | {candidate:.2f} | {difference:+.2f} | '
                f'{low:+.2f} to {high:+.2f} |'
            )
    return '\n'.join(lines)
