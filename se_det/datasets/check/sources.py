"""Find the data sets of a config that can be checked: local ones in COCO's form."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmdet.datasets import CocoDataset, V3DetDataset
from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file

from se_det.config_files import dicts_in
from se_det.datasets.shapes import ShapesDataset
from se_det.errors import UsageError

LOCAL_BACKENDS = (None, 'local', 'disk')


@dataclass
class Source:
    """A data set in a config.

    Attributes:
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: its config.
        classes: the class list that MMDetection uses.
        draws_itself: whether it is a ShapesDataset, which has no files before its first use.
        evaluates_masks: whether the evaluator of the split reads segmentations.
    """

    split: str
    dataset: ConfigDict
    classes: tuple[str, ...]
    draws_itself: bool
    evaluates_masks: bool = False

    @property
    def where(self) -> str:
        """How a config names it."""
        return f'{self.split}_dataloader.dataset'

    @property
    def ann_file(self) -> Path:
        """The annotation file."""
        return Path(self.dataset.get('data_root') or '') / self.dataset.get('ann_file', '')

    @property
    def image_folder(self) -> Path:
        """What the images' file names are relative to."""
        root = Path(self.dataset.get('data_root') or '')
        return root / self.dataset.get('data_prefix', {}).get('img', '')

    @property
    def reads_masks(self) -> bool:
        """Whether a step of the pipeline, or the evaluator, reads segmentations."""
        steps = dicts_in(self.dataset.get('pipeline'))
        return self.evaluates_masks or any(step.get('with_mask') for _, step in steps)

    @property
    def decoder(self) -> tuple[str, str | None]:
        """``color_type`` and ``imdecode_backend`` of the step that loads images."""
        for _, step in dicts_in(self.dataset.get('pipeline')):
            if 'LoadImageFromFile' in str(step.get('type')):
                return step.get('color_type', 'color'), step.get('imdecode_backend', 'cv2')
        return 'color', 'cv2'


def find_sources(cfg: Config, split: str) -> list[Source]:
    """Find the data sets of a split, wrappers opened.

    Args:
        cfg: the config of a run.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        UsageError: a data set class is not registered, or a class list cannot be one.
    """
    loader = cfg.get(f'{split}_dataloader')
    masks = any('segm' in str(metric.get('metric')) for metric in metrics_of(cfg, split))
    sources = []
    for dataset in _coco_datasets(loader.get('dataset') if loader else None):
        draws_itself = issubclass(_class_of(dataset), ShapesDataset)
        classes = _classes(dataset, f'{split}_dataloader.dataset')
        sources.append(Source(split, dataset, classes, draws_itself, masks))
    return sources


def metrics_of(cfg: Config, split: str) -> list[dict]:
    """The configs of the metrics that evaluate a split."""
    evaluator = cfg.get(f'{split}_evaluator')
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    return [metric for metric in metrics if isinstance(metric, dict)]


def _coco_datasets(dataset: ConfigDict | None) -> Iterator[ConfigDict]:
    if dataset is None:
        return
    for inner in [dataset.get('dataset'), *dataset.get('datasets', [])]:
        yield from _coco_datasets(inner)
    if _reads_as_coco(_class_of(dataset)) and _is_local(dataset):
        yield dataset


def _class_of(dataset: ConfigDict) -> type:
    kind = dataset.get('type')
    found = kind if isinstance(kind, type) else DATASETS.get(str(kind))
    if found is None:
        raise UsageError(
            f'No data set class {kind!r} is registered. Check the name, or add its module '
            'to custom_imports.'
        )
    return found


def _reads_as_coco(dataset_class: type) -> bool:
    """Whether a class reads annotations as CocoDataset does; LVIS and panoptic ones do not.

    V3DetDataset reads its classes from another file.
    """
    is_coco = issubclass(dataset_class, CocoDataset) and not issubclass(dataset_class, V3DetDataset)
    return is_coco and all(
        getattr(dataset_class, method) is getattr(CocoDataset, method)
        for method in ('load_data_list', 'parse_data_info')
    )


def _is_local(dataset: ConfigDict) -> bool:
    """Whether all files are read from folders: not from a URL, nor by another backend."""
    arguments = [dataset.get('backend_args')]
    arguments += [step.get('backend_args') for _, step in dicts_in(dataset.get('pipeline'))]
    backends = {(backend or {}).get('backend') for backend in arguments}
    location = f'{dataset.get("data_root")} {dataset.get("ann_file")}'
    return '://' not in location and backends <= set(LOCAL_BACKENDS)


def _classes(dataset: ConfigDict, where: str) -> tuple[str, ...]:
    """The class list as mmengine finds it."""
    dataset_class = _class_of(dataset)
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        classes = dataset_class.METAINFO.get('classes')
    if classes is None:
        raise UsageError(
            f'{dataset_class.__name__} has no class list of its own. Set '
            f"{where}.metainfo=dict(classes=('first class', 'second class'))"
        )
    if isinstance(classes, str):
        if not os.path.isfile(classes):
            raise UsageError(
                f'{where}.metainfo.classes must be a tuple of names, or a file with a name in each '
                f'line; got the text {classes!r}, which is no file. A tuple of one class needs a '
                f'comma: metainfo=dict(classes=({classes!r},))'
            )
        classes = list_from_file(classes)
    if not all(isinstance(name, str) for name in classes):
        raise UsageError(
            f'{where}.metainfo.classes must be names; got {tuple(classes)}. Write them in quotes: '
            f'classes={tuple(map(str, classes))}'
        )
    return tuple(classes)
