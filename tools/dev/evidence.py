#!/usr/bin/env python3
"""Fill docs/evidence.md and draw its forest plot from the files in configs/experiments/results/.

``runs.csv`` has AP of each run, ``comparisons.json`` each comparison that was made: its standing,
its looks (seeds a side at each) and COCO's metrics (baseline, candidate, difference and the ends of
its interval over images and seeds). A plan whose runs are archived there has no metrics: its
detections are compared once all runs are there, into ``comparison.json`` beside them.
"""

import argparse
import csv
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import stats

from se_det.errors import UsageError
from se_det.files import write_json, write_whole
from tools._command_line import usage_errors_alone

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / 'configs/experiments/results'
PAGE, PLOT = ROOT / 'docs/evidence.md', ROOT / 'docs/evidence.svg'
INTERVAL = tuple[float, float]


@dataclass(frozen=True)
class Compared:
    """A comparison of two arms; values are in points of AP.

    Attributes:
        plan: the name of its plan.
        data: the images and the detector.
        about: what was compared.
        arms: baseline and candidate, each ``plan/arm`` as in ``runs.csv``.
        se_against_plain: whether SE is all that differs, or SE and its start.
        repeats_seeds: whether its seeds are those of another comparison.
        standing: ``registered`` or ``exploratory``.
        looks: seeds a side at each look.
        images: that were evaluated.
        seeds: AP of each seed of baseline and candidate; fewer than the last look's if unfinished.
        difference: candidate minus baseline.
        interval: of the difference, over images and seeds.
        is_kept: whether the detections are archived, from which it can be computed.
    """

    plan: str
    data: str
    about: str
    arms: tuple[str, str]
    se_against_plain: bool
    repeats_seeds: bool
    standing: str
    looks: tuple[int, ...]
    images: int
    seeds: tuple[list[float], list[float]]
    difference: float | None
    interval: INTERVAL | None
    is_kept: bool

    @property
    def is_finished(self) -> bool:
        """Whether both sides have all seeds and were compared."""
        return self.difference is not None

    def over_seeds(self) -> INTERVAL:
        """The 95 % interval of Student's t for two samples of seeds with equal variances."""
        return tuple(stats.ttest_ind(*self.seeds[::-1]).confidence_interval())

    def paired(self) -> INTERVAL:
        """The 95 % interval of Student's t for the differences of equal seeds."""
        return tuple(stats.ttest_rel(*self.seeds[::-1]).confidence_interval())


def read_runs(results: Path = RESULTS) -> dict[str, list[str]]:
    """AP of each run as in ``runs.csv``, by ``plan/arm``, in the order of seeds."""
    runs = {}
    with (results / 'runs.csv').open() as file:
        for row in csv.DictReader(file):
            runs.setdefault(f'{row["plan"]}/{row["arm"]}', []).append(row['AP'])
    return runs


def read_comparisons(ann_file: Path, results: Path = RESULTS) -> list[Compared]:
    """All comparisons, those of archived runs among them.

    Args:
        ann_file: for archived runs that are complete and were not compared yet.
        results: the folder with the files.

    Raises:
        UsageError: such runs are there and the annotations are not.
    """
    runs = read_runs(results)
    read = []
    for entry in json.loads((results / 'comparisons.json').read_text()):
        metrics, arms = entry.pop('metrics'), (entry.pop('baseline'), entry.pop('candidate'))
        looks = tuple(entry.pop('looks'))
        seeds = tuple([float(ap) for ap in runs.get(arm, [])[: looks[-1]]] for arm in arms)
        difference = interval = None
        archives = [archives_of(results, arm) for arm in arms]
        if metrics:
            _, _, difference, *interval = metrics['AP']
        elif all(len(files) == looks[-1] for files in archives):
            ap = compare_archives(results / entry['plan'], archives, ann_file)
            seeds = tuple(
                [100 * v for v in ap[f'{side}_seeds']] for side in ('baseline', 'candidate')
            )
            difference, *interval = (100 * ap[name] for name in ('difference', 'low', 'high'))
        elif any(archives):  # no AP is shown before all runs are there
            seeds = tuple([float('nan')] * len(files) for files in archives)
        read.append(
            Compared(
                **entry,
                arms=arms,
                looks=looks,
                seeds=seeds,
                difference=difference,
                interval=interval and tuple(interval),
                is_kept=any(archives),
            )
        )
    return read


def archives_of(results: Path, arm: str) -> list[Path]:
    """The archives ``<plan>/<arm>_<seed>.tar.xz`` of an arm, in the order of seeds."""
    files = results.glob(f'{arm}_*.tar.xz')
    return sorted(files, key=lambda file: int(file.name.removesuffix('.tar.xz').split('_')[-1]))


def compare_archives(folder: Path, archives: Sequence[Sequence[Path]], ann_file: Path) -> dict:
    """AP in ``comparison.json`` of a folder, which is written if it is not there.

    Args:
        folder: of the plan.
        archives: of baseline and candidate, seed by seed.
        ann_file: the annotations that both were evaluated with.
    """
    file = folder / 'comparison.json'
    if not file.exists():
        if not ann_file.exists():
            raise UsageError(
                f'All runs of {folder.name} are there. To compare them, expected their annotations '
                f'at {ann_file}, found none. Add --ann FILE.'
            )
        from se_det.evaluation import compare_runs

        with TemporaryDirectory() as unpacked:
            sides = [[_detections(archive, unpacked) for archive in side] for side in archives]
            write_json(file, compare_runs(*sides, ann_file).to_dict())
    return json.loads(file.read_text())['metrics']['AP']


def _detections(archive: Path, folder: str) -> Path:
    """Unpack the detections of a run."""
    unpacked = Path(folder, archive.name.removesuffix('.tar.xz') + '.bbox.json')
    with tarfile.open(archive) as tar:
        member = next(name for name in tar.getnames() if name.endswith('detections.bbox.json'))
        unpacked.write_bytes(tar.extractfile(member).read())
    return unpacked


@cache
def false_alarm(looks: tuple[int, ...], draws: int = 40_000) -> float:
    """How often an interval over seeds excludes zero at one look at least if nothing differs.

    Args:
        looks: seeds a side at each.
        draws: simulated experiments.
    """
    seeds = np.random.default_rng(0).standard_normal((2, draws, looks[-1]))
    p = [stats.ttest_ind(*seeds[..., :look], axis=-1).pvalue for look in looks]
    return float((np.min(p, axis=0) < 0.05).mean())


def families(comparisons: Sequence[Compared]) -> Iterator[tuple[float, float]]:
    """The mean difference and its variance over seeds of each family.

    A family is the comparisons with one baseline. They share its runs, so their mean is one
    difference with one variance (Borenstein, Hedges, Higgins and Rothstein, Introduction to
    Meta-Analysis, 2009, chapter 25): it is a weighted sum of runs, whose variance within arms is
    pooled.
    """
    by_baseline = sorted(comparisons, key=lambda compared: compared.arms[0])
    for _, family in groupby(by_baseline, key=lambda compared: compared.arms[0]):
        family = list(family)
        weights, arms = {}, {}
        for compared in family:
            for arm, seeds, sign in zip(compared.arms, compared.seeds, (-1, 1), strict=True):
                arms[arm] = max(arms.get(arm, []), seeds, key=len)
                for seed in range(len(seeds)):
                    share = sign / len(seeds) / len(family)
                    weights[arm, seed] = weights.get((arm, seed), 0) + share
        squares = sum(np.var(seeds) * len(seeds) for seeds in arms.values())
        variance = squares / sum(len(seeds) - 1 for seeds in arms.values())
        mean = float(np.mean([compared.difference for compared in family]))
        yield mean, variance * sum(weight**2 for weight in weights.values())


def random_effects(differences: np.ndarray, variances: np.ndarray) -> tuple[float, float, float]:
    """Mean of independent differences that vary more than their variances, and its 95 % interval.

    The variance between them is DerSimonian and Laird's (Controlled Clinical Trials 7, 1986), the
    interval Hartung and Knapp's for few of them (Statistics in Medicine 20, 2001), never narrower
    than without that variance (Knapp and Hartung, Statistics in Medicine 22, 2003).
    """
    freedom = len(differences) - 1
    weights = 1 / variances
    fixed = np.average(differences, weights=weights)
    excess = (weights * (differences - fixed) ** 2).sum() - freedom
    between = max(0, excess / (weights.sum() - (weights**2).sum() / weights.sum()))
    weights = 1 / (variances + between)
    mean = np.average(differences, weights=weights)
    spread = (weights * (differences - mean) ** 2).sum() / freedom
    half = stats.t.ppf(0.975, freedom) * np.sqrt(max(1, spread) / weights.sum())
    return float(mean), float(mean - half), float(mean + half)


def mean_of_se(comparisons: Sequence[Compared]) -> tuple[int, tuple[float, float, float]]:
    """How many families SE-against-plain has, and their random-effects mean."""
    counted = [
        c for c in comparisons if c.se_against_plain and c.is_finished and not c.repeats_seeds
    ]
    differences, variances = np.array(list(families(counted))).T
    return len(differences), random_effects(differences, variances)


def parts_of_page(comparisons: Sequence[Compared], runs: dict[str, list[str]]) -> dict[str, str]:
    """What is written into the page, in Markdown, by the names of its places."""
    finished = [compared for compared in comparisons if compared.is_finished]
    se = [c for c in finished if c.se_against_plain and not c.repeats_seeds]
    above, below = (sum(sign * c.difference > 0 for c in se) for sign in (1, -1))
    apart = [f'{c.about} ({c.data})' for c in se if c.interval[0] > 0 or c.interval[1] < 0]
    count, mean = mean_of_se(comparisons)
    rows = [
        f'[{c.data}](../configs/experiments/results/{c.plan}.md) | {c.about} | {c.difference:+.2f} '
        f'| {_ends(c.over_seeds())} | {_ends(c.paired())} | {_ends(c.interval)}'
        f'{"" if c.is_kept else "*"} | {len(c.seeds[0])}, {c.images} '
        f'| {", ".join(map(str, c.looks))} | {100 * false_alarm(c.looks):.0f} % | {c.standing}'
        for c in finished
    ]
    seeds = runs | {
        arm: [f'{ap:.2f}' for ap in side]
        for c in finished
        if c.is_kept
        for arm, side in zip(c.arms, c.seeds, strict=True)
    }
    unfinished = [
        f'- {c.about} ({c.data}, [{c.plan}](../configs/experiments/results/{c.plan}.md), '
        f'{c.standing}): {len(c.seeds[0])} + {len(c.seeds[1])} of {2 * c.looks[-1]} runs'
        for c in comparisons
        if not c.is_finished
    ]
    return {
        'counts': f'{len(finished)} comparisons, inspected {sum(len(c.looks) for c in finished)} '
        f'times. {len(se)} are SE against plain (repeats of the same seeds not counted): {above} '
        f'are positive, {below} negative. Of these, intervals over images and seeds that exclude '
        f'zero: {"; ".join(apart) or "none"}.',
        'comparisons': _table(
            'data, detector | compared | ΔAP | 95 %, over seeds | paired by seed '
            '| over images and seeds | seeds a side, images | looks | false alarm | standing',
            rows,
        ),
        'unfinished': '\n'.join(unfinished),
        'mean': f'The mean is {mean[0]:+.2f} AP ({_ends(mean[1:])}), from {count} groups of '
        'comparisons.',
        'seeds': _table(
            'arm | seeds | AP', [f'{arm} | {len(ap)} | {" ".join(ap)}' for arm, ap in seeds.items()]
        ),
    }


def fill(page: str, parts: dict[str, str]) -> str:
    """Put the parts between the comments ``<!-- NAME -->`` and ``<!-- end -->`` of a page."""
    for name, part in parts.items():
        place = rf'(<!-- {name} -->\n).*?(<!-- end -->)'
        page = re.sub(
            place, lambda found, part=part: f'{found[1]}{part}\n{found[2]}', page, flags=re.S
        )
    return page


def _table(head: str, rows: Sequence[str]) -> str:
    rule = '---|' * (head.count('|') + 1)
    return '\n'.join([f'| {head} |', f'|{rule}', *(f'| {row} |' for row in rows)])


def _ends(interval: INTERVAL) -> str:
    return f'{interval[0]:+.2f} to {interval[1]:+.2f}'


def plot(comparisons: Sequence[Compared]) -> bytes:
    """The forest plot of SE against plain, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = [c for c in comparisons if c.se_against_plain and c.is_finished]
    labels = [f'{c.data}: {c.about}' for c in shown]
    count, (mean, *ends) = mean_of_se(comparisons)
    with rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'evidence', 'font.size': 11}):
        figure = Figure(
            figsize=(11, 0.34 * len(shown) + 1.6), layout='constrained', facecolor='white'
        )
        axes = figure.add_subplot()
        axes.axvline(0, color='gray', linewidth=1)
        for row, compared in enumerate(shown):
            colour = 'tab:green' if compared.standing == 'registered' else 'tab:blue'
            axes.plot(compared.over_seeds(), [row, row], color=colour)
            filled = 'white' if compared.repeats_seeds else colour
            axes.plot(compared.difference, row, 'o', color=colour, markerfacecolor=filled)
            _note(axes, row, f'{compared.difference:+.2f} ({_ends(compared.over_seeds())})')
        bottom = len(shown)
        tips = [ends[0], mean, ends[1], mean], [bottom, bottom - 0.25, bottom, bottom + 0.25]
        axes.fill(*tips, color='black')
        _note(axes, bottom, f'{mean:+.2f} ({_ends(ends)})')
        axes.set_yticks(range(bottom + 1), [*labels, f'mean of {count} families, random effects'])
        axes.tick_params(axis='y', length=0)
        axes.spines[['top', 'right', 'left']].set_visible(False)
        axes.set(xlabel='AP of SE minus plain', xlim=(-8, 8), ylim=(bottom + 0.6, -0.6))
        file = io.BytesIO()
        nothing = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
        figure.savefig(file, format='svg', metadata=nothing)
    return file.getvalue()


def _note(axes, row: int, text: str) -> None:
    axes.annotate(text, (1.01, row), xycoords=('axes fraction', 'data'), va='center', fontsize=10)


def main() -> None:
    """Parse the arguments, read, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument(
        '--ann',
        type=Path,
        metavar='FILE',
        default=Path('data/neu_det/annotations/instances_val.json'),
        help='annotations of archived runs that were not compared yet; default: %(default)s',
    )
    with usage_errors_alone():
        comparisons = read_comparisons(parser.parse_args().ann)
        parts = parts_of_page(comparisons, read_runs())
        write_whole(PAGE, fill(PAGE.read_text(), parts).encode())
        write_whole(PLOT, plot(comparisons))


if __name__ == '__main__':
    main()
