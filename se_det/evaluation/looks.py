"""Looks at an experiment before all of its seeds are there, planned in advance.

Each look at no difference is another chance to exclude zero. So the 5 % are spent over the looks:
by look k at most 4 - 4 Phi(z / sqrt(t_k)), where t_k is the share of the seeds that are there and z
the 98.75 % point (Lan and DeMets, Discrete sequential boundaries for clinical trials, Biometrika
70, 1983; it resembles O'Brien and Fleming's boundaries). Early intervals are wide, the last one is
hardly wider than if it were the only one. Together they hold the true difference in 95 % of
experiments, whatever made one stop (Jennison and Turnbull, Interim analyses: the repeated
confidence interval approach, Journal of the Royal Statistical Society B 51, 1989).

The levels are those of normal means of seeds. Student's intervals take them as they are (Jennison
and Turnbull, Group Sequential Methods, 1999, section 4.4). All looks share the images, which makes
them more alike than the levels assume, so they err on the safe side.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from se_det.errors import UsageError

NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
LEAST = 1e-9  # of the 5 %, by each look: less cannot be told from none


def check_looks(looks: Sequence[int], where: str) -> tuple[int, ...]:
    """Check the numbers of seeds a side at which an experiment is looked at.

    Raises:
        UsageError: they do not rise, or one of several looks has fewer than two seeds.
    """
    numbers = looks if isinstance(looks, list | tuple) and looks else [0]
    whole = all(type(number) is int for number in numbers)
    if not whole or numbers[0] < min(len(numbers), 2) or any(a >= b for a, b in pairwise(numbers)):
        raise UsageError(
            f'{where} are the numbers of seeds a side at which the experiment is looked at, rising '
            f'from 2 or more to all of them, such as [6, 9, 12]; got {looks!r}.'
        )
    return tuple(numbers)


def confidence_at(looks: Sequence[int], seeds: int, confidence: float = 0.95) -> float:
    """The confidence that the interval of one look needs.

    Args:
        looks: numbers of seeds a side, rising; the last is all of them.
        seeds: one of them.
        confidence: of all looks together.
    """
    if len(looks) == 1:
        return confidence
    shares = np.array(looks) / looks[-1]
    spent = 4 * ndtr(ndtri((1 - confidence) / 4) / np.sqrt(shares))
    spent = np.maximum(spent, LEAST * np.arange(1, len(looks) + 1))
    # The sum of the seeds is a Brownian motion. `density` is that of its paths which excluded zero
    # at no look so far, times the weights of a quadrature at `places`.
    places, density, before = np.zeros(1), np.ones(1), 0.0
    for look, share, lost in zip(looks, shares, spent, strict=True):
        step = np.sqrt(share - before)
        top = 8 * np.sqrt(share)
        end = brentq(_left, 0, top, args=(places, density, step, 1 - lost), xtol=1e-12)
        if look == seeds:
            return float(1 - 2 * ndtr(-end / np.sqrt(share)))
        grid = end * NODES
        normal = np.exp(-(((grid - places[:, None]) / step) ** 2) / 2) / np.sqrt(2 * np.pi)
        density = (density @ normal) / step * end * WEIGHTS
        places, before = grid, share
    raise ValueError(f'{seeds} is none of the looks {looks}')


def _left(end: float, places: np.ndarray, density: np.ndarray, step: float, wanted: float) -> float:
    """How many more paths than wanted are between -end and end after a step."""
    return density @ (ndtr((end - places) / step) - ndtr((-end - places) / step)) - wanted
