"""A data set in COCO's format that draws itself at its first use, without a download."""

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger
from pycocotools import mask as coco_mask

from se_det.datasets.drawing import CATEGORIES, draw_scene
from se_det.errors import UsageError

SPLITS = ('train', 'val')
DRAWING_VERSION = 1


@DATASETS.register_module()
class ShapesDataset(CocoDataset):
    """Textured shapes, twelve categories, with exact boxes, masks and areas in COCO's format.

    The first use (with ``lazy_init``, its ``full_init``) draws ``<data_root>/<split>/*.png`` and
    ``<data_root>/annotations/instances_<split>.json``, identical for equal arguments; later uses
    read them. Several processes may do so at once.

    Args:
        split: ``'train'`` or ``'val'``.
        num_images: how many scenes to draw.
        seed: seed of the scenes.
        data_root: folder of the data set; created if it does not exist.
        **kwargs: as mmdet's CocoDataset, except ``ann_file`` and ``data_prefix``.

    Raises:
        UsageError: ``split`` is unknown, or ``data_root`` has scenes drawn with other arguments.
    """

    METAINFO: ClassVar = {
        'classes': CATEGORIES,
        'palette': [
            tuple(int(channel) for channel in colour)
            for colour in np.random.default_rng(0).integers(60, 256, (len(CATEGORIES), 3))
        ],
    }

    def __init__(
        self,
        split: str,
        num_images: int,
        seed: int = 0,
        data_root: str = 'data/shapes/',
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f'ShapesDataset: split must be one of {SPLITS}; got {split!r}.')
        self.drawing = (split, num_images, seed)
        super().__init__(
            data_root=data_root,
            ann_file=f'annotations/instances_{split}.json',
            data_prefix=dict(img=f'{split}/'),
            **kwargs,
        )

    def full_init(self) -> None:
        """Draw the scenes, if they are not there, and read their annotations."""
        if not self._fully_initialized:
            draw_split(Path(self.data_root), *self.drawing)
        super().full_init()


def draw_split(data_root: Path, split: str, num_images: int, seed: int) -> None:
    """Draw a split into ``data_root``, unless it exists there.

    Every file is written under a temporary name and renamed, the annotations last. A run after an
    interrupted one overwrites its files, and processes that draw at once write the same files.

    Raises:
        UsageError: the split exists, but was drawn with other arguments.
    """
    ann_file = data_root / 'annotations' / f'instances_{split}.json'
    info = dict(version=DRAWING_VERSION, split=split, num_images=num_images, seed=seed)
    if ann_file.exists():
        found = json.loads(ann_file.read_text()).get('info')
        if found != info:
            raise UsageError(
                f'{ann_file} has the scenes {found}; expected {info}. Delete {data_root} to draw '
                'them again, or set data_root to another folder.'
            )
        return
    logger = MMLogger.get_current_instance()
    logger.info(f'Drawing {num_images} {split} images into {data_root}, once')
    images, annotations = [], []
    for index in range(num_images):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        pixels, instances = draw_scene(rng)
        height, width = pixels.shape[:2]
        name = f'{index:06}.png'
        _write(data_root / split / name, cv2.imencode('.png', pixels)[1].tobytes())
        images.append(dict(id=index + 1, file_name=name, height=height, width=width))
        for instance in instances:
            rle = coco_mask.encode(np.asfortranarray(instance.mask))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=instance.category + 1,
                    bbox=coco_mask.toBbox(rle).tolist(),
                    area=int(coco_mask.area(rle)),
                    segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
                    iscrowd=0,
                )
            )
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CATEGORIES)]
    coco = dict(info=info, images=images, annotations=annotations, categories=categories)
    _write(ann_file, json.dumps(coco).encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
