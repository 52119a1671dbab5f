"""The whole check of ``tools/check_dataset.py``: every annotation, every image, a summary."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from se_det.datasets.check.config import check_config, check_num_classes, missing_data
from se_det.datasets.check.decoding import decode_images
from se_det.datasets.check.facts import check_content
from se_det.datasets.check.problems import Problems
from se_det.datasets.check.reading import read_annotations, without_garbage_collection
from se_det.datasets.check.repair import repair
from se_det.datasets.check.sources import Source, find_sources
from se_det.datasets.check.summary import print_summary
from se_det.errors import UsageError
from se_det.files import write_whole


def check_dataset(
    cfg: Config,
    splits: Sequence[str] = ('train', 'val', 'test'),
    fix: bool = False,
    console: Console | None = None,
) -> bool:
    """Check all data of a config, print a summary and what is wrong.

    Args:
        cfg: the config.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` to check.
        fix: write a repaired copy of each annotation file with errors, beside it.
        console: where to print; default standard output.

    Returns:
        Whether all is well.

    Raises:
        UsageError: a data set class or a class list is wrong; a copy cannot be written.
    """
    console = console or Console()
    well, done = True, set()
    for split in splits:
        sources = find_sources(cfg, split)
        if not sources and cfg.get(f'{split}_dataloader'):
            _print(console, f'{split}_dataloader: no local data set in COCO form; not checked.')
        for source in sources:
            if source.draws_itself:
                _print(console, f'{source.where}: draws itself at its first use; not checked.')
                continue
            try:
                key = (source.ann_file.resolve(), source.image_folder.resolve(), source.classes)
                if key not in done:
                    well &= _check_source(cfg, source, fix, console)
                done.add(key)
            except UsageError as error:
                _print(console, f'error: {error}')
                well = False
    _print(console, 'All is well.' if well else 'There are errors.')
    return well


def _check_source(cfg: Config, source: Source, fix: bool, console: Console) -> bool:
    for path in (source.ann_file, source.image_folder):
        if not path.exists():
            raise missing_data(source, path)
    problems = Problems()
    with without_garbage_collection():
        coco = read_annotations(source.ann_file)
        facts = check_content(coco, source.reads_masks, problems)
    sizes = _check_images(coco, source, problems)
    print_summary(coco, source, console)
    for line in problems.note_lines():
        _print(console, f'  note: {line}')
    for line in problems.error_lines():
        _print(console, f'  error: {line}')
    if fix and problems.errors:
        _write_repaired(coco, sizes, source, console)
    if problems.errors:
        return False
    check_config(cfg, source, facts)
    check_num_classes(cfg.model, source)
    return True


def _check_images(
    coco: dict, source: Source, problems: Problems
) -> dict[str, tuple[int, int] | None]:
    """Decode the images; returns their sizes, None for those that cannot be decoded."""
    images = {
        image['file_name']: image
        for image in coco['images']
        if isinstance(image, dict) and isinstance(image.get('file_name'), str)
    }
    sizes = {}
    for name, (found, complaint) in decode_images(source.image_folder, list(images)).items():
        sizes[name] = None if isinstance(found, str) else tuple(found)
        said = (images[name].get('width'), images[name].get('height'))
        if isinstance(found, str):
            problems.error('images must be there and decodable', f'{name} {found}')
        elif sizes[name] != said:
            text = f'{name} is {found[0]}x{found[1]}, the annotations say {said[0]}x{said[1]}'
            problems.error('images must have the size that the annotations say', text)
        if complaint:
            problems.note(f'images are damaged, but decoded ({complaint})', name)
    return sizes


def _write_repaired(coco: dict, sizes: dict, source: Source, console: Console) -> None:
    repaired, changes = repair(coco, sizes, source.reads_masks)
    path = _free_name(source.ann_file)
    write_whole(path, json.dumps(repaired).encode())
    _print(console, f'Written: {path}')
    for change, count in changes.items():
        _print(console, f'  {count} {change}')
    left = Problems()
    check_content(repaired, source.reads_masks, left)
    for line in left.error_lines():
        _print(console, f'  still wrong, repair it by hand: {line}')
    relative = os.path.join(os.path.dirname(source.dataset.get('ann_file', '')), path.name)
    lines = [f'{source.where}.ann_file={relative}']
    if source.split != 'train':
        lines.append(f'{source.split}_evaluator.ann_file={path}')
    _print(console, f'To use it: --cfg-options {" ".join(lines)}')


def _free_name(ann_file: Path) -> Path:
    """A name beside a file that does not exist yet."""
    number, path = 1, ann_file.with_name(f'{ann_file.stem}.fixed{ann_file.suffix}')
    while path.exists():
        number += 1
        path = ann_file.with_name(f'{ann_file.stem}.fixed{number}{ann_file.suffix}')
    return path


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
