"""Load and build each MMDetection config and its SE twin, and write the twin as a child config."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
import torch.distributed
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from se_det.config_files import inherited_name, locate_teacher, package_configs, read_config
from se_det.swap import NothingToSwap, swap_backbone
from se_det.swap.child_config import child_config
from se_det.swap.twin import WITH_SE

OK = 'ok'
T = TypeVar('T')


@dataclass(frozen=True)
class Outcome:
    """The result of one config: per step, ``'ok'``, the error, or None if it was not reached.

    Attributes:
        config: its name, such as ``'mmdet::atss/atss_r50_fpn_1x_coco.py'``.
        loads: mmengine reads it.
        swaps: it has a backbone to swap.
        inherits: the child that `child_config` writes loads as the twin.
        builds_plain: its model builds.
        builds: the model of its twin builds.
        backbones: the classes of its twin's backbones with SE.
    """

    config: str
    loads: str | None = None
    swaps: str | None = None
    inherits: str | None = None
    builds_plain: str | None = None
    builds: str | None = None
    backbones: str | None = None


def algorithm(config: str) -> str:
    """The folder of a config; MMDetection has one for each algorithm."""
    return config.partition('::')[2].partition('/')[0]


def zoo_configs() -> list[str]:
    """All configs of the installed MMDetection, without the parts that they inherit from."""
    folder = package_configs('mmdet')
    names = (path.relative_to(folder) for path in folder.rglob('*.py'))
    return sorted(f'mmdet::{name.as_posix()}' for name in names if '_base_' not in name.parts)


def sweep(
    configs: Iterable[str], results: Path, check: Callable[[str], T], kind: type[T]
) -> Iterator[T]:
    """Check configs, except those that an earlier sweep checked.

    Args:
        configs: names, as `zoo_configs` returns them.
        results: a file of JSON lines, one per outcome, to read and append to. An incomplete last
            line, of a sweep that was killed, is dropped.
        check: returns the outcome of a config.
        kind: the dataclass of the outcomes.

    Yields:
        The outcome of each config, earlier ones included.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    text = results.read_text() if results.exists() else ''
    text = text[: text.rfind('\n') + 1]
    known = {found.config: found for found in (kind(**json.loads(x)) for x in text.splitlines())}
    with results.open('w') as file, _process_group_of_one():
        file.write(text)
        file.flush()
        for config in configs:
            if config not in known:
                known[config] = check(config)
                file.write(json.dumps(asdict(known[config])) + '\n')
                file.flush()
            yield known[config]


def check_building(config: str) -> Outcome:
    """Read a config, make its SE twin, write that as a child and read it, build both models."""
    try:
        plain = read_config(config)
    except Exception as error:
        return Outcome(config, loads=first_line(error))
    try:
        twin = swap_backbone(plain)
    except Exception as error:
        return Outcome(config, loads=OK, swaps=first_line(error))
    return Outcome(
        config,
        loads=OK,
        swaps=OK,
        inherits=attempt(lambda: _inherit(config, plain, twin)),
        builds_plain=attempt(lambda: _build(plain)),
        builds=attempt(lambda: _build(twin)),
        backbones=', '.join(sorted(set(_with_se(twin.model)))),
    )


def _with_se(cfg: Any) -> Iterator[str]:
    """The class of each backbone with SE in a model's config."""
    if isinstance(cfg, list | tuple):
        for inner in cfg:
            yield from _with_se(inner)
    elif isinstance(cfg, dict):
        name = str(cfg.get('type')).removeprefix('mmdet.')
        if f'mmdet.{name}' in WITH_SE:
            yield name
        yield from _with_se(list(cfg.values()))


def attempt(step: Callable[[], Any]) -> str:
    """Run a step; return ``'ok'`` or the error."""
    try:
        step()
    except Exception as error:  # a config's classes may raise anything
        return first_line(error)
    return OK


def as_markdown(outcomes: list[Outcome]) -> str:
    """Summarise outcomes: counts per step, then the errors with their counts."""
    swapped = [outcome for outcome in outcomes if outcome.swaps == OK]
    lines = [
        f'{len(outcomes)} configs, {len(swapped)} with a backbone to swap, in '
        f'{len({algorithm(outcome.config) for outcome in swapped})} folders:',
        '',
        *count_steps(swapped),
        '',
        *_count_backbones(swapped),
    ]
    unread = [outcome for outcome in outcomes if outcome.loads != OK]
    if unread:
        lines += ['', 'Could not be read, plain:', '', *(f'- {o.config}' for o in unread)]
    failed = [
        outcome
        for outcome in outcomes
        if outcome.swaps and not outcome.swaps.startswith((OK, NothingToSwap.__name__))
    ]
    if failed:
        lines += ['', 'Could not be swapped:', '', *(f'- {o.config}: {o.swaps}' for o in failed)]
    return '\n'.join(lines)


def count_steps(outcomes: list[T]) -> list[str]:
    """Two tables: how many configs are ok in each step, and the errors of the others."""
    steps = [f.name for f in fields(outcomes[0]) if f.name not in ('config', 'backbones')]
    lines = ['| step | ok |', '|---|---|']
    reasons = Counter()
    for step in steps:
        fine = sum(getattr(outcome, step) == OK for outcome in outcomes)
        lines.append(f'| {step} | {fine}/{len(outcomes)} |')
        for outcome in outcomes:
            if (reason := getattr(outcome, step)) != OK:
                reasons[algorithm(outcome.config), step, reason] += 1
    if reasons:
        lines += ['', '| folder | step | configs | reason |', '|---|---|---|---|']
        for (folder, step, reason), count in sorted(reasons.items()):
            escaped = reason.replace('|', '\\|')
            lines.append(f'| {folder} | {step} | {count} | {escaped} |')
    return lines


def _count_backbones(outcomes: list[Outcome]) -> list[str]:
    """A table: how many twins have each backbone."""
    counts = Counter(name for o in outcomes for name in (o.backbones or '').split(', ') if name)
    lines = ['| backbone | configs |', '|---|---|']
    return lines + [f'| {name} | {count} |' for name, count in sorted(counts.items())]


def _inherit(config: str, plain: Config, twin: Config) -> None:
    """Write the twin as a child config and read it."""
    with TemporaryDirectory() as folder:
        child = Path(folder, 'child.py')
        child.write_text(child_config(plain, twin, inherited_name(config)))
        if Config.fromfile(child).to_dict() != twin.to_dict():
            raise ValueError('the child loads as another config')


def _build(cfg: Config) -> None:
    """Build a model, on the meta device unless it computes while it is built."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = without_teachers_weights(cfg.model)
    try:
        with torch.device('meta'):
            MODELS.build(deepcopy(model))
    except Exception:
        MODELS.build(model)


def without_teachers_weights(model: dict) -> dict:
    """A copy of a model's config that builds without its frozen teacher's weights.

    MMDetection's distillers download the teacher's weights when they are built.
    """
    model = deepcopy(model)
    if 'teacher_ckpt' in model:
        model['teacher_ckpt'] = None
    locate_teacher(model)
    return model


@contextmanager
def _process_group_of_one() -> Iterator[None]:
    """Some layers, such as mmcv's SyncBatchNorm, need a process group when they are built."""
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def first_line(error: Exception) -> str:
    """Type and first line of an error, on one line."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {" ".join(lines[0].split())}'
