"""The whole check of ``tools/check_dataset.py``: every annotation, every image, a summary."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from se_det.datasets.check.annotation_file import read_annotations, without_garbage_collection
from se_det.datasets.check.box_readings import FORMATS
from se_det.datasets.check.config import check_config, check_num_classes, missing_data
from se_det.datasets.check.decode_all import decode_images
from se_det.datasets.check.facts import check_content
from se_det.datasets.check.image_checks import (
    AS_STORED,
    found_elsewhere,
    misplaced,
    missing_images,
    turned_by_exif,
)
from se_det.datasets.check.problems import DROP, Problems, Repairs, printable
from se_det.datasets.check.repair import repair
from se_det.datasets.check.repair_records import FILE_SIZE, ImageFiles
from se_det.datasets.check.sources import Source, find_sources
from se_det.datasets.check.summary import print_summary
from se_det.errors import UsageError
from se_det.files import write_whole

READINGS = re.compile(
    rf'category_id[+-][0-9]{{1,15}}|bbox|segmentation|{FILE_SIZE}|{DROP}|{"|".join(FORMATS)}'
)


def check_dataset(
    cfg: Config,
    splits: Sequence[str] = ('train', 'val', 'test'),
    fix: bool = False,
    console: Console | None = None,
    choices: Sequence[str] = (),
) -> bool:
    """Check all data of a config, print a summary and what is wrong.

    Args:
        cfg: the config.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` to check.
        fix: write a repaired copy of each annotation file with errors, beside it.
        console: where to print; default standard output.
        choices: what to take where a repair has two readings, as `--read-as` says.

    Returns:
        Whether all is well.

    Raises:
        UsageError: a data set class, a class list or a choice is wrong; a copy cannot be written.
    """
    wrong = next((choice for choice in choices if not READINGS.fullmatch(choice)), None)
    if wrong is not None:
        raise UsageError(f'--read-as {wrong} is no reading. Choose one that --fix has shown.')
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
                    well &= _check_source(cfg, source, fix, choices, console)
                done.add(key)
            except UsageError as error:
                _print(console, f'error: {error}')
                well = False
    _print(console, 'All is well.' if well else 'There are errors.')
    return well


def _check_source(
    cfg: Config, source: Source, fix: bool, choices: Sequence[str], console: Console
) -> bool:
    for path in (source.ann_file, source.image_folder):
        if not path.exists():
            raise missing_data(source, path)
    problems = Problems()
    with without_garbage_collection():
        coco = read_annotations(source.ann_file)
        facts = check_content(coco, source.reads_masks, problems)
    files = _check_images(coco, source, problems)
    print_summary(coco, source, console)
    for line in problems.note_lines():
        _print(console, f'  note: {line}')
    for line in problems.error_lines():
        _print(console, f'  error: {line}')
    if fix and problems.errors:
        repaired, done = repair(coco, files, source.reads_masks, choices)
        _write_repaired(cfg, repaired, done, source, console)
    if problems.errors:
        return False
    check_config(cfg, source, facts)
    check_num_classes(cfg.model, source)
    return True


def _check_images(coco: dict, source: Source, problems: Problems) -> ImageFiles:
    """Decode the images; returns what a repair needs of them."""
    folder = source.image_folder
    images = {
        image['file_name']: image
        for image in coco['images']
        if isinstance(image, dict) and isinstance(image.get('file_name'), str)
    }
    paths = found_elsewhere(folder, missing_images(folder, images), images)
    for name, path in paths.items():
        problems.error(*misplaced(name, path, folder).split(': ', 1))
    files = ImageFiles(paths)
    names = [paths.get(name, name) for name in images]
    decoded = decode_images(folder, names, decoder=source.decoder)
    for (name, image), path in zip(images.items(), names, strict=True):
        found, complaint = decoded[path]
        if isinstance(found, str):
            files.sizes[name] = None
            problems.error('images must be there and decodable', f'{name} {found}')
            continue
        files.sizes[name] = width, height = tuple(found)
        said = (image.get('width'), image.get('height'))
        if said != (width, height):
            text = f'{name} is {width}x{height}, the annotations say {said[0]}x{said[1]}'
            problems.error('images must have the size that the annotations say', text)
            if source.decoder[0] not in AS_STORED and turned_by_exif(folder / path):
                files.turned.add(name)
        if complaint:
            problems.notes[f'images are damaged, but decoded ({complaint})'] += 1
    return files


def _write_repaired(
    cfg: Config, coco: dict, done: Repairs, source: Source, console: Console
) -> None:
    """Write what was repaired, if it is certain and can be trained on."""
    for change, count in done.changes.items():
        _print(console, f'  {count} {change}')
    for line in done.left_out.error_lines():
        _print(console, f'  left out: {line}')
    for line in done.unclear.error_lines():
        _print(console, f'  two readings: {line}')
    if done.unclear.errors:
        _print(console, f'Nothing is written. Choose, or correct {source.ann_file} by hand.')
        return
    still_wrong = Problems()
    facts = check_content(coco, source.reads_masks, still_wrong)
    reasons = still_wrong.error_lines()
    if not reasons:
        try:
            check_config(cfg, source, facts)
        except UsageError as error:
            reasons = [str(error)]
    if reasons:
        nothing = '' if coco['annotations'] else ' No annotation is left.'
        _print(console, f'Nothing is written: it could not be trained on.{nothing}')
        for reason in reasons:
            _print(console, f'  still wrong, repair it by hand: {reason}')
        return
    path = _free_name(source.ann_file)
    write_whole(path, json.dumps(coco).encode())
    _print(console, f'Written: {path}')
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
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)
