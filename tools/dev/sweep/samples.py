"""Batches of COCO images in the form that each MMDetection algorithm needs."""

from contextlib import redirect_stdout
from copy import deepcopy
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData

from se_det.errors import UsageError

SIZE = 320  # SSD needs 300


@cache
def load_samples(coco: Path, number: int = 2) -> list[dict[str, Any]]:
    """Load images with boxes and masks, resized to a square.

    Raises:
        UsageError: the annotations are missing, or have too few large objects.
    """
    init_default_scope('mmdet')
    annotations = coco / 'annotations' / 'instances_train2017.json'
    if not annotations.is_file():
        raise UsageError(f'No annotations at {annotations}. Name the folder of COCO: --train DIR.')
    dataset = CocoDataset(
        data_root=str(coco),
        ann_file=str(annotations.relative_to(coco)),
        data_prefix=dict(img='train2017/'),
        lazy_init=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False),
            dict(type='FilterAnnotations', min_gt_bbox_wh=(16, 16), keep_empty=True),
            dict(type='PackDetInputs'),
        ],
    )
    samples = []
    with redirect_stdout(StringIO()):  # pycocotools prints its progress
        dataset.full_init()
    for sample in dataset:
        if sample is not None and len(sample['data_samples'].gt_instances) > 1:
            samples.append(sample)
        if len(samples) == number:
            return samples
    raise UsageError(f'{annotations} has fewer than {number} images with two large objects.')


def training_batch(samples: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """A batch as from the data loader of a detector, a tracker or a semi-supervised detector.

    Args:
        samples: two from `with_all_labels`.
        kind: type of the model's ``data_preprocessor``.
    """
    if 'Track' in kind:
        return _collate([_as_video(sample, frames=2) for sample in samples])
    if 'MultiBranch' not in kind:
        return _collate(samples)
    labelled, unlabelled = samples
    branches = dict(sup=labelled, unsup_teacher=unlabelled, unsup_student=deepcopy(unlabelled))
    return {key: {branch: [sample[key]] for branch, sample in branches.items()} for key in labelled}


def test_batch(samples: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """A batch of one image, or of a video of one; arguments as in `training_batch`."""
    if 'Track' in kind:
        return _collate([_as_video(sample, frames=1) for sample in samples[:1]])
    return _collate(samples[:1])


def _collate(samples: list[dict[str, Any]]) -> dict[str, list]:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def _as_video(sample: dict[str, Any], frames: int) -> dict[str, Any]:
    """A video that repeats one image."""
    track = TrackDataSample()
    track.video_data_samples = [deepcopy(sample['data_samples']) for _ in range(frames)]
    for index, frame in enumerate(track.video_data_samples):
        frame.set_metainfo(dict(frame_id=index, video_length=frames, ori_video_length=frames))
    track.set_metainfo(dict(key_frames_inds=[0], ref_frames_inds=list(range(1, frames))))
    return dict(inputs=sample['inputs'].repeat(frames, 1, 1, 1), data_samples=track)


def with_all_labels(sample: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Add the labels that some algorithms need: semantic labels, identities, proposals and others.

    Args:
        sample: one from `load_samples`; it is not changed.
        cfg: the config of the algorithm.
    """
    sample = deepcopy(sample)
    data: DetDataSample = sample['data_samples']
    objects = data.gt_instances
    classes = min([n for n in _values(cfg.model, 'num_classes') if isinstance(n, int)], default=80)
    things = min(_values(cfg.model, 'num_things_classes'), default=classes)
    objects.labels = objects.labels % min(classes, things)
    objects.instances_ids = torch.arange(len(objects))
    stuff = things if things < classes or _values(cfg.model, 'num_stuff_classes') else 0
    semantic = np.full((SIZE, SIZE), stuff, np.int64)
    for mask, label in zip(objects.masks.masks, objects.labels.tolist(), strict=True):
        semantic[mask.astype(bool)] = label
    steps = _values(cfg.get('train_pipeline', []), 'type')
    stride = 8 if 'SegRescale' in steps else 1
    data.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(semantic[None, ::stride, ::stride].copy()))
    for found in (objects, data.ignored_instances):
        found.bboxes = found.bboxes.tensor  # a plain tensor, which all algorithms accept
    if 'roi_head' in cfg.model and 'rpn_head' not in cfg.model:
        scores = torch.ones(len(objects))
        data.proposals = InstanceData(bboxes=objects.bboxes.clone(), scores=scores)
    identity = np.eye(3, dtype=np.float32)
    data.set_metainfo(
        dict(flip=False, flip_direction=None, border=(0, SIZE, 0, SIZE), homography_matrix=identity)
    )
    return sample


def _values(cfg: Any, key: str) -> list:
    """All values of a key anywhere in a config."""
    if isinstance(cfg, list | tuple):
        return [value for inner in cfg for value in _values(inner, key)]
    if not isinstance(cfg, dict):
        return []
    found = [cfg[key]] if key in cfg else []
    return found + [value for inner in cfg.values() for value in _values(inner, key)]
