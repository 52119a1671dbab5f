"""What a config says about its data: classes, number of classes, filters, evaluator."""

import os
from pathlib import Path

from mmengine.config import Config, ConfigDict

from se_det.datasets.check.facts import Facts
from se_det.datasets.check.sources import Source, metrics_of
from se_det.errors import UsageError


def check_config(cfg: Config, source: Source, facts: Facts) -> None:
    """Check that a config fits the annotations of a data set.

    Raises:
        UsageError: other classes, another annotation file for the evaluator, or a filter that
            leaves no image.
    """
    check_evaluator(cfg, source)
    _check_classes(source, facts)
    if facts.annotations is None and _needs_no_objects(cfg, source):
        return
    _check_objects(source, facts)
    if source.split == 'train':
        _check_filter(source, facts)


def check_evaluator(cfg: Config, source: Source) -> None:
    """Check that the evaluator reads the annotations of its data set."""
    for metric in metrics_of(cfg, source.split):
        found = metric.get('ann_file')
        if found and Path(found).resolve() != source.ann_file.resolve():
            raise UsageError(
                f'{source.split}_evaluator.ann_file must be the annotations of its data set, '
                f'{source.ann_file}; got {found}. '
                f'Add --cfg-options {source.split}_evaluator.ann_file={source.ann_file}'
            )


def check_num_classes(model: ConfigDict, source: Source) -> None:
    """Check that each head has as many classes as the data set."""
    for name, value in model.items():
        heads = value if isinstance(value, list) else [value]
        for head in [head for head in heads if isinstance(head, dict)]:
            found = head.get('num_classes') if name in ('bbox_head', 'mask_head') else None
            if found is not None and found != len(source.classes):
                raise UsageError(
                    f'{name}.num_classes must be the number of classes of {source.where}, '
                    f'{len(source.classes)}; got {found}. '
                    f'Set num_classes={len(source.classes)} there.'
                )
            check_num_classes(head, source)


def _check_classes(source: Source, facts: Facts) -> None:
    """Check names and order: CocoDataset numbers labels in the order of the annotations."""
    names = tuple(name for _, name in facts.categories)
    usable = tuple(name for name in names if name in source.classes)
    if source.classes == usable:
        return
    cause = ''
    if 'classes' not in (source.dataset.get('metainfo') or {}):
        cause = (
            f'{source.where} has no metainfo.classes, so that the list is the one of '
            f"{source.dataset.get('type')}'s own data.\n"
        )
    found = source.classes if len(source.classes) < 20 else (*source.classes[:19], '...')
    raise UsageError(
        f'The class list of {source.where} differs from that of {source.ann_file}.\n'
        f'Expected these, or some of them, in this order: {names}\n'
        f'Found: {found}\n{cause}'
        f'Set {source.where}.metainfo=dict(classes={names}) and num_classes={len(names)} in '
        'the heads; the README shows a whole config.'
    )


def _needs_no_objects(cfg: Config, source: Source) -> bool:
    """Whether the split is COCO's test-dev, whose annotations are not public."""
    metrics = metrics_of(cfg, source.split)
    return source.split == 'test' and any(metric.get('format_only') for metric in metrics)


def _check_objects(source: Source, facts: Facts) -> None:
    """Check that there are objects of the classes that MMDetection uses."""
    names = [name for _, name in facts.categories]
    counts = dict(zip(names, facts.objects, strict=True))
    if sum(counts[name] for name in source.classes):
        return
    with_objects = tuple(name for name in names if counts[name])
    if with_objects:
        remedy = f'It has objects of {with_objects}. Set {source.where}.metainfo=dict('
        remedy += f'classes={with_objects})'
    else:
        remedy = f'Set {source.where}.ann_file to the file with the annotations, or iscrowd=0 there'
    raise UsageError(
        f'{source.ann_file} has {facts.images} images, {facts.annotations or "no"} annotations and '
        f'no object of the classes of {source.where}, {source.classes}. MMDetection uses none that '
        'is a crowd (iscrowd=1), ignored (ignore=1) or smaller than a pixel. '
        f'{remedy}.'
    )


def _check_filter(source: Source, facts: Facts) -> None:
    """Check that the filter leaves images; with none, mmengine has no array to concatenate."""
    rules = source.dataset.get('filter_cfg') or {}
    min_size = rules.get('min_size', 0)
    largest = facts.largest_image
    if rules.get('filter_empty_gt', False):
        sides = zip(facts.categories, facts.largest, strict=True)
        largest = max(side for (_, name), side in sides if name in source.classes)
    if largest < min_size:
        raise UsageError(
            f'{source.where}.filter_cfg leaves no image of {source.ann_file}: min_size={min_size}, '
            f'and the largest image with objects has a shorter side of {largest} pixels. '
            f'Set {source.where}.filter_cfg.min_size={largest} or less.'
        )


def missing_data(source: Source, missing: str | os.PathLike) -> UsageError:
    """The error for a file or folder that does not exist."""
    root = source.dataset.get('data_root') or '.'
    return UsageError(
        f'Data is missing: {missing} does not exist.\n'
        f"Expected, in COCO's format:\n  {source.ann_file}\n  {source.image_folder}/*.jpg\n"
        f'If you have COCO elsewhere: ln -s /path/to/coco {root}\n'
        f'For other data, set {source.where}.data_root, .ann_file and .data_prefix.img.\n'
        'To try se_det without data: make train (it draws its own).'
    )
