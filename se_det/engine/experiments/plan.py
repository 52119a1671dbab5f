"""A plan: which detectors to train, on which seeds, to compare them."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config

from se_det.config_files import read_config
from se_det.engine.launch import configure
from se_det.errors import UsageError
from se_det.evaluation.looks import check_looks

START = 'start'
MOST_SEEDS = 10_000
NAME = re.compile(r'\w[\w.-]*')  # of an arm
TYPES = dict(
    cfg_options=dict,
    se=bool,
    fresh_se=bool,
    keep_checkpoints=bool,
    load_from=str,
    paired=bool,
    group_by=str,
)


@dataclass(frozen=True)
class Arm:
    """One of the detectors that a plan compares.

    Attributes:
        config: the config file, as for `se_det.config_files.find_config`.
        se: train the config's SE twin, of `se_det.swap_backbone`.
        fresh_se: load a plain detector's weights and leave SE its usual initialisation. An arm with
            ``se`` alone has SE grafted to them.
        cfg_options: what to change in the config, nested or with dotted names; ``{seed}`` in a text
            is the run's seed.
        seeds: of the start alone; where there is one, all runs start from it.
    """

    config: str
    se: bool = False
    fresh_se: bool = False
    cfg_options: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | tuple[int, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """Arms that are trained on the same seeds and compared by AP, when all seeds are there.

    Attributes:
        name: the plan's file without ``.py``.
        arms: by their names.
        seeds: the seeds of each arm.
        comparisons: pairs of arms, baseline and candidate; default the first arm and each other.
        cfg_options: what to change in the configs of all arms, before an arm's own.
        start: a detector to train first; all arms start from its last checkpoint.
        load_from: a checkpoint that all arms, or ``start``, begin with.
        keep_checkpoints: keep the last checkpoint of each run.
        looks: the numbers of seeds at which arms are compared; the last is all of them.
        paired: compare each seed of an arm with the same seed of the other.
        group_by: as in `se_det.evaluation.compare_runs`.
    """

    name: str
    arms: dict[str, Arm]
    seeds: tuple[int, ...]
    comparisons: tuple[tuple[str, str], ...]
    looks: tuple[int, ...]
    cfg_options: Mapping[str, Any] = field(default_factory=dict)
    start: Arm | None = None
    load_from: str | None = None
    keep_checkpoints: bool = False
    paired: bool = False
    group_by: str | None = None

    def interim(self, seeds: int) -> str | None:
        """In words that the plan has no look at so many seeds, None where it has one."""
        return None if seeds in self.looks else f'interim, {seeds} of {self.looks[-1]} seeds'

    def runs(self) -> list[tuple[str, int]]:
        """Arm and seed of each run, in the order to train them: seed by seed, starts before."""
        runs = []
        for seed in self.seeds:
            if self.start and (start := (START, self.start_seed(seed))) not in runs:
                runs.append(start)
            runs.extend((arm, seed) for arm in self.arms)
        return runs

    def only(self, arms: Sequence[str] | None, seeds: int | None) -> 'Plan':
        """A part of the plan.

        Args:
            arms: names of arms; None for all.
            seeds: how many of the seeds, from the first on; None for all. The looks stay.

        Raises:
            UsageError: an arm is none of the plan's, these arms have nothing to compare, or there
                are not that many seeds.
        """
        if unknown := sorted({*(arms or ())} - self.arms.keys()):
            raise UsageError(f'{self.name} has the arms {", ".join(self.arms)}; got {unknown}.')
        if seeds is not None and not 0 < seeds <= len(self.seeds):
            raise UsageError(f'{self.name} has {len(self.seeds)} seeds; got --seeds {seeds}.')
        kept = {name: arm for name, arm in self.arms.items() if arms is None or name in arms}
        comparisons = tuple(pair for pair in self.comparisons if {*pair} <= kept.keys())
        if self.comparisons and not comparisons:
            raise UsageError(
                f'{self.name} compares nothing of {", ".join(kept)} alone. Name both arms of a '
                f'comparison: --arms {" ".join(self.comparisons[0])}'
            )
        return replace(self, arms=kept, seeds=self.seeds[:seeds], comparisons=comparisons)

    def start_seed(self, seed: int) -> int:
        """The seed of the start that the runs with ``seed`` begin from."""
        return self.start.seeds[0] if len(self.start.seeds) == 1 else seed

    def config(self, arm_name: str, seed: int, load_from: str | None) -> Config:
        """The config of a run.

        Args:
            arm_name: the arm's name, or ``'start'``.
            seed: the run's seed.
            load_from: the checkpoint to start from.

        Raises:
            UsageError: the arm's config cannot be read, or its options do not fit it.
        """
        arm = self.start if arm_name == START else self.arms[arm_name]
        last_alone = dict(type='CheckpointHook', max_keep_ckpts=1)
        run_options = dict(randomness=dict(seed=seed), default_hooks=dict(checkpoint=last_alone))
        if load_from and not arm.fresh_se:
            run_options['load_from'] = load_from
        options = [self.cfg_options, _with_seed(arm.cfg_options, seed), run_options]
        cfg = configure(arm.config, deepcopy(options), arm.se)
        hooks = [dict(type='RunResultHook')]
        if arm.fresh_se:
            if load_from is None or 'SEPretrained' in cfg.pretty_text:
                raise UsageError(
                    f'{self.name}: fresh_se in {arm_name} is for weights from start or load_from, '
                    'and a backbone with init_cfg=None; add these.'
                )
            cfg.load_from = load_from
            hooks.append(dict(type='FreshSEHook'))
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), *hooks]
        return cfg


def read_plan(file: str) -> Plan:
    """Read a plan, a Python file of mmengine's config format with the attributes of `Plan`.

    Names that start with an underscore are local to the file.

    Args:
        file: a path, from the current folder or from se_det's checkout.

    Raises:
        UsageError: the file is not there, or is no plan; the message says what is wrong in it.
    """
    content = read_config(file).to_dict()
    content = {name: value for name, value in content.items() if not name.startswith('_')}
    arms = content.pop('arms', None)
    if (
        not isinstance(arms, dict)
        or len(arms) < 2
        or START in arms
        or not all(isinstance(name, str) and NAME.fullmatch(name) for name in arms)
    ):
        raise UsageError(
            f'{file}: arms has to be a dict of two or more, none of them called {START}; their '
            'names, which folders get, are of letters, digits, dots, dashes and underscores: '
            f"arms = dict(plain=dict(config='a.py'), se=dict(config='b.py')); got {arms!r}."
        )
    seeds = _seeds(content.pop('seeds', None), file)
    baseline, *candidates = arms
    comparisons = content.pop('comparisons', [(baseline, candidate) for candidate in candidates])
    pairs = [*product(arms, arms)]
    for pair in comparisons if isinstance(comparisons, list | tuple) else [comparisons]:
        if not (isinstance(pair, list | tuple) and tuple(pair) in pairs):
            raise UsageError(
                f'{file}: comparisons are pairs of the arms {", ".join(arms)}, baseline and '
                f"candidate, such as [('{baseline}', '{candidates[0]}')]; got {pair!r}."
            )
    looks = check_looks(content.pop('looks', (len(seeds),)), f'{file}: looks')
    if looks[-1] != len(seeds):
        raise UsageError(
            f'{file}: the last of the looks is at all {len(seeds)} seeds; got {[*looks]}.'
        )
    start = content.pop(START, None)
    if start is not None:
        start = _checked(Arm, start, f'{file}: start')
        start = replace(start, seeds=_seeds(seeds if start.seeds is None else start.seeds, file))
        if start.seeds != seeds and len(start.seeds) > 1:
            raise UsageError(f'{file}: start.seeds has to be one seed, or the seeds of the arms.')
    return _checked(
        Plan,
        dict(
            content,
            name=Path(file).stem,
            arms={name: _checked(Arm, arm, f'{file}: arms.{name}') for name, arm in arms.items()},
            seeds=seeds,
            comparisons=tuple(map(tuple, comparisons)),
            start=start,
            looks=looks,
        ),
        file,
    )


def _seeds(seeds: Any, where: str) -> tuple[int, ...]:
    """The seeds 0, 1, ... for a number of seeds, or the seeds that are listed."""
    if type(seeds) is int and 0 < seeds <= MOST_SEEDS:
        return tuple(range(seeds))
    if (
        isinstance(seeds, list | tuple)
        and seeds
        and all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
        and len(set(seeds)) == len(seeds)
    ):
        return tuple(seeds)
    raise UsageError(
        f'{where}: seeds has to be how many, such as 5, or which, such as [0, 1, 2]; got {seeds!r}.'
    )


def _with_seed(options: Any, seed: int) -> Any:
    """Options with the seed in place of ``{seed}`` in each text."""
    if isinstance(options, Mapping):
        return {name: _with_seed(value, seed) for name, value in options.items()}
    if isinstance(options, list | tuple):
        return type(options)(_with_seed(value, seed) for value in options)
    return options.replace('{seed}', str(seed)) if isinstance(options, str) else options


def _checked(kind: type, given: Any, where: str) -> Any:
    """Make an arm or a plan of a dict, after a check of its keys."""
    known = [key.name for key in fields(kind)]
    if not isinstance(given, dict) or not given.keys() <= {*known}:
        found = [key for key in given if key not in known] if isinstance(given, dict) else given
        raise UsageError(f'{where} is a dict with the keys {", ".join(known)}; got {found!r}.')
    if kind is Arm and not isinstance(given.get('config'), str):
        raise UsageError(f"{where} has to name its config: dict(config='configs/name.py').")
    given = {key: value for key, value in given.items() if value is not None}
    for key, expected in TYPES.items():
        if key in given and not isinstance(given[key], expected):
            raise UsageError(f'{where}: {key} has to be a {expected.__name__}; got {given[key]!r}.')
    return kind(**given)
