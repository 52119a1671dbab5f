"""The check when training or testing starts."""

import os

from mmengine.config import Config
from mmengine.logging import MMLogger

from se_det.datasets.check.annotation_file import read_annotations, without_garbage_collection
from se_det.datasets.check.config import (
    check_config,
    check_evaluator,
    check_num_classes,
    missing_data,
)
from se_det.datasets.check.facts import (
    SAMPLE,
    Facts,
    cache_file,
    check_content,
    load_facts,
    one_at_a_time,
    save_facts,
    stamp,
)
from se_det.datasets.check.image_checks import (
    found_elsewhere,
    image_fault,
    misplaced,
    missing_images,
)
from se_det.datasets.check.problems import Problems
from se_det.datasets.check.sources import Source, find_sources
from se_det.errors import UsageError


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the local data sets in COCO's form of a config.

    The annotations are checked whole, when their file is new or has changed. Of the images, all
    must be there then; the size of up to 200 is compared in each run, and of those of a
    validation or test, the size and the end of all.

    Args:
        cfg: the config of a run.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` the run uses.

    Raises:
        UsageError: a file is missing or not in COCO's form; an annotation is wrong; the class list
            differs from that of the annotations; a head has another number of classes; the
            evaluator reads other annotations than its data set; no image is left to train on.
    """
    name = cfg.filename or 'CONFIG'
    as_typed = min(name, os.path.relpath(name), key=len)
    for split in splits:
        for source in find_sources(cfg, split):
            if not source.draws_itself:
                check_evaluator(cfg, source)
                facts = _facts(source, as_typed)
                check_config(cfg, source, facts)
                for note in facts.notes:
                    MMLogger.get_current_instance().info(f'{source.ann_file}: {note}.')
            check_num_classes(cfg.model, source)


def wrong_data(source: Source, lines: list[str], config: str) -> UsageError:
    """The error for data that training must not start with."""
    shown = '\n'.join(f'  {line}' for line in lines[:10])
    more = f'\n  and {len(lines) - 10} more kinds of errors' if len(lines) > 10 else ''
    return UsageError(
        f'The data of {source.where} has errors, in {source.ann_file}:\n{shown}{more}\n'
        f'To see all of them: python -m se_det check_dataset {config}\n'
        'With --fix, this also writes a repaired copy of the file beside it.\n'
        'To go on with the data as it is, add --no-data-check.'
    )


def _facts(source: Source, config: str) -> Facts:
    ann_file, folder = source.ann_file, source.image_folder
    missing = next((path for path in (ann_file, folder) if not path.exists()), None)
    if missing is not None:
        raise missing_data(source, missing)
    key = (ann_file.resolve(), folder.resolve(), source.reads_masks, source.split == 'train')
    kept_in = cache_file('annotations', *key)
    with one_at_a_time(kept_in):
        facts = load_facts(kept_in, ann_file)
        if facts is None:
            checked = stamp(ann_file)
            facts = _check_whole(source, config)
            save_facts(kept_in, checked, facts)
    faults = (
        (folder / name, image_fault(folder / name, width, height, source.decoder))
        for name, width, height in facts.sample
    )
    lines = [f'{path} {fault}' for path, fault in faults if fault]
    if lines:
        raise wrong_data(source, lines, config)
    return facts


@without_garbage_collection()
def _check_whole(source: Source, config: str) -> Facts:
    """Check all annotations, and that all images are there."""
    ann_file, folder = source.ann_file, source.image_folder
    problems = Problems()
    coco = read_annotations(ann_file)
    sample = SAMPLE if source.split == 'train' else None
    facts = check_content(coco, source.reads_masks, problems, sample)
    if problems.errors:
        raise wrong_data(source, problems.error_lines(), config)
    names = [image['file_name'] for image in coco['images']]
    gone = missing_images(folder, names)
    elsewhere = found_elsewhere(folder, gone, names) if gone else {}
    if elsewhere:
        raise wrong_data(source, [misplaced(*pair, folder) for pair in elsewhere.items()], config)
    if gone:
        more = f' (and {len(gone) - 1} more images)' if len(gone) > 1 else ''
        raise missing_data(source, f'{folder}/{gone[0]}{more}')
    return facts
