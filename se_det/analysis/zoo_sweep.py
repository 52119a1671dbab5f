"""All of MMDetection's configs, plain and as SE twins: do they load, build and write alike?"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from se_det.child_config import child_config
from se_det.config_files import inherited_name, package_configs, read_config
from se_det.errors import UsageError
from se_det.swap import swap_backbone

OK = 'ok'


@dataclass(frozen=True)
class Outcome:
    """What became of one config: for each step, ``'ok'``, why not, or None if it was not reached.

    Attributes:
        config: its name, such as ``'mmdet::atss/atss_r50_fpn_1x_coco.py'``.
        loads: mmengine reads it.
        swaps: it has a backbone to swap.
        inherits: the child that `child_config` writes loads as the twin.
        builds_plain: the model of the config builds here.
        builds: the twin's does.
    """

    config: str
    loads: str | None = None
    swaps: str | None = None
    inherits: str | None = None
    builds_plain: str | None = None
    builds: str | None = None

    @property
    def algorithm(self) -> str:
        """Its folder; MMDetection has one for each algorithm."""
        return self.config.partition('::')[2].partition('/')[0]


def zoo_configs() -> list[str]:
    """All configs of the installed MMDetection, without the parts that they inherit from."""
    folder = package_configs('mmdet')
    names = (path.relative_to(folder) for path in folder.rglob('*.py'))
    return sorted(f'mmdet::{name.as_posix()}' for name in names if '_base_' not in name.parts)


def sweep(configs: Iterable[str], results: Path) -> Iterator[Outcome]:
    """Check configs, except those that an earlier sweep has checked.

    Args:
        configs: names, as `zoo_configs` gives them.
        results: a file of JSON lines, one for each outcome, to go on with.

    Yields:
        The outcome of each config, earlier ones too.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    lines = results.read_text().splitlines() if results.exists() else []
    known = {outcome.config: outcome for outcome in (Outcome(**json.loads(x)) for x in lines)}
    with results.open('a') as file, _process_group_of_one():
        for config in configs:
            if config not in known:
                known[config] = check(config)
                file.write(json.dumps(asdict(known[config])) + '\n')
                file.flush()
            yield known[config]


def check(config: str) -> Outcome:
    """Read a config, make its SE twin, write that as a child and read it, build both models."""
    try:
        plain = read_config(config)
    except UsageError as error:
        return Outcome(config, loads=_first_line(error))
    try:
        twin = swap_backbone(plain)
    except UsageError as error:
        return Outcome(config, loads=OK, swaps=_first_line(error))
    with TemporaryDirectory() as folder:
        child = Path(folder, 'child.py')
        child.write_text(child_config(plain, twin, inherited_name(config)))
        loads_as_twin = Config.fromfile(child).to_dict() == twin.to_dict()
    return Outcome(
        config,
        loads=OK,
        swaps=OK,
        inherits=OK if loads_as_twin else 'the child loads as another config',
        builds_plain=_build(plain),
        builds=_build(twin),
    )


def as_markdown(outcomes: list[Outcome]) -> str:
    """Sum up: counts, then each config that does not do all, by reason."""
    swapped = [outcome for outcome in outcomes if outcome.swaps == OK]
    counts = {
        'twins made': len(swapped),
        'written child loads as the twin': sum(o.inherits == OK for o in swapped),
        'plain model builds': sum(o.builds_plain == OK for o in swapped),
        'twin builds': sum(o.builds == OK for o in swapped),
        'builds plain but not as twin': sum(
            o.builds_plain == OK and o.builds != OK for o in swapped
        ),
    }
    lines = [
        f'{len(outcomes)} configs, {len(swapped)} with a backbone to swap, in '
        f'{len({outcome.algorithm for outcome in swapped})} folders.',
        '',
        '| | configs |',
        '|---|---|',
        *(f'| {name} | {count}/{len(swapped)} |' for name, count in counts.items()),
    ]
    problems = Counter()
    for outcome in outcomes:
        for step in ('loads', 'inherits', 'builds_plain', 'builds'):
            if (reason := getattr(outcome, step)) not in (OK, None):
                problems[step, reason, outcome.algorithm] += 1
    if problems:
        lines += ['', '| step | reason | folder | configs |', '|---|---|---|---|']
        lines += [
            f'| {step} | {reason} | {folder} | {count} |'
            for (step, reason, folder), count in sorted(problems.items())
        ]
    return '\n'.join(lines)


def _build(cfg: Config) -> str:
    """Build a model, on the meta device unless it computes while it is built."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = _without_teachers_weights(cfg.model)
    for device in ('meta', 'cpu'):
        try:
            with torch.device(device):
                MODELS.build(deepcopy(model))
            return OK
        except Exception as error:  # whatever the config's classes raise
            reason = _first_line(error)
    return reason


def _without_teachers_weights(model: dict) -> dict:
    """A model whose frozen teacher is found, but not downloaded.

    MMDetection's distillers read the teacher's config from a path in its checkout, and the
    teacher's weights from the network, when they are built.
    """
    model = deepcopy(model)
    if 'teacher_ckpt' in model:
        model['teacher_ckpt'] = None
    if isinstance(model.get('teacher_config'), str):
        name = model['teacher_config'].removeprefix('configs/')
        model['teacher_config'] = read_config(f'mmdet::{name}')
    return model


@contextmanager
def _process_group_of_one() -> Iterator[None]:
    """Some layers, such as mmcv's SyncBatchNorm, ask for it when they are built."""
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {" ".join(lines[0].split())}'
