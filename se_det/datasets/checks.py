"""Check a config's data and classes before anything is built."""

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict

from se_det.datasets.shapes import ShapesDataset
from se_det.errors import UsageError

CATEGORIES_READ = 4 << 20  # bytes; the 1203 categories of LVIS take 0.5 MiB


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the COCO-format data sets of a config.

    Args:
        cfg: the config of a run.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` the run uses.

    Raises:
        UsageError: a file is missing or not in COCO's format; the class list differs from that of
            the annotations; a head has another number of classes; the evaluator reads other
            annotations than its data set.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in _coco_datasets(loader.dataset if loader else None):
            dataset_class = DATASETS.get(dataset.type)
            where = f'{split}_dataloader.dataset'
            classes = (
                dataset.get('metainfo', {}).get('classes') or dataset_class.METAINFO['classes']
            )
            if not issubclass(dataset_class, ShapesDataset):
                ann_file = _check_files(dataset, where)
                _check_evaluator(cfg, split, ann_file)
                _check_classes(classes, ann_file, where)
            _check_num_classes(cfg.model, classes, where)


def _coco_datasets(dataset: ConfigDict | None) -> Iterator[ConfigDict]:
    """The local data sets in COCO's format in a data set config, wrappers included."""
    if dataset is None:
        return
    for inner in [dataset.get('dataset'), *dataset.get('datasets', [])]:
        yield from _coco_datasets(inner)
    dataset_class = DATASETS.get(dataset.type)
    if dataset_class is None:
        raise UsageError(
            f'No data set class {dataset.type!r} is registered. Check the name, or add its module '
            'to custom_imports.'
        )
    location = f'{dataset.get("data_root")} {dataset.get("ann_file")}'
    if _reads_as_coco(dataset_class) and '://' not in location:
        yield dataset


def _reads_as_coco(dataset_class: type) -> bool:
    """Whether a class reads annotations as CocoDataset does; LVIS and panoptic ones do not."""
    return issubclass(dataset_class, CocoDataset) and all(
        getattr(dataset_class, method) is getattr(CocoDataset, method)
        for method in ('load_data_list', 'parse_data_info')
    )


def _check_files(dataset: ConfigDict, where: str) -> Path:
    root = Path(dataset.get('data_root') or '')
    ann_file = root / dataset.get('ann_file', '')
    image_folder = root / dataset.get('data_prefix', {}).get('img', '')
    missing = next((path for path in (ann_file, image_folder) if not path.exists()), None)
    if missing is None:
        first_image = _find(ann_file, rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
        if first_image is None:
            raise UsageError(
                f'{ann_file} lists no image; it is not a COCO annotation file. '
                f'Set {where}.ann_file to one.'
            )
        image = image_folder / json.loads(first_image)
        missing = None if image.exists() else image
    if missing is not None:
        raise UsageError(
            f'Data is missing: {missing} does not exist.\n'
            f"Expected, in COCO's format:\n  {ann_file}\n  {image_folder}/*.jpg\n"
            f'If you have COCO elsewhere: ln -s /path/to/coco {root}\n'
            f'For other data, set {where}.data_root, .ann_file and .data_prefix.img.\n'
            'To try se_det without data: make train (it draws its own).'
        )
    return ann_file


def _check_evaluator(cfg: Config, split: str, ann_file: Path) -> None:
    evaluator = cfg.get(f'{split}_evaluator')
    metrics = evaluator if isinstance(evaluator, list) else [evaluator or {}]
    for metric in metrics:
        found = metric.get('ann_file')
        if found and Path(found).resolve() != ann_file.resolve():
            raise UsageError(
                f'{split}_evaluator.ann_file must be the annotations of its data set, {ann_file}; '
                f'got {found}. Add --cfg-options {split}_evaluator.ann_file={ann_file}'
            )


def _check_classes(classes: tuple[str, ...], ann_file: Path, where: str) -> None:
    """Check names and order: CocoDataset numbers labels in the order of the annotations."""
    names = [category['name'] for category in _read_categories(ann_file)]
    usable = tuple(name for name in names if name in classes)
    if tuple(classes) != usable:
        raise UsageError(
            f'The class list of {where} differs from that of {ann_file}.\n'
            f'Expected these, or some of them, in this order: {tuple(names)}\n'
            f'Found: {tuple(classes)}\n'
            f'Set {where}.metainfo=dict(classes={tuple(names)}) and num_classes={len(names)} in '
            'the heads; the README shows a whole config.'
        )


def _check_num_classes(model: ConfigDict, classes: tuple[str, ...], where: str) -> None:
    for name, value in model.items():
        heads = value if isinstance(value, list) else [value]
        for head in [head for head in heads if isinstance(head, dict)]:
            found = head.get('num_classes') if name in ('bbox_head', 'mask_head') else None
            if found is not None and found != len(classes):
                raise UsageError(
                    f'{name}.num_classes must be the number of classes of {where}, '
                    f'{len(classes)}; got {found}. Set num_classes={len(classes)} there.'
                )
            _check_num_classes(head, classes, where)


def _read_categories(ann_file: Path) -> list[dict]:
    """Read only the categories; parsing all of COCO's annotations takes many seconds."""
    text = _find(ann_file, rb'"categories"\s*:\s*(\[.{0,%d})' % CATEGORIES_READ)
    try:
        return json.JSONDecoder().raw_decode(text.decode(errors='ignore'))[0]
    except (AttributeError, json.JSONDecodeError) as error:
        raise UsageError(
            f'{ann_file} has no readable list of categories; it is not a COCO annotation file.'
        ) from error


def _find(path: Path, pattern: bytes) -> bytes | None:
    """The first group of the first match in a file; nothing after the match is read."""
    if not path.is_file() or path.stat().st_size == 0:
        return None
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        match = re.search(pattern, content, re.DOTALL)
        return bytes(match[1]) if match else None
