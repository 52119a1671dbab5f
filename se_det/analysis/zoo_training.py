"""One config of each algorithm, plain and as SE twin: a step of training, then a prediction."""

from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData

from se_det.analysis.zoo_sweep import OK, Outcome, algorithm, first_line, without_teachers_weights
from se_det.config_files import read_config
from se_det.errors import UsageError
from se_det.swap import swap_backbone

SIZE = 256


@dataclass(frozen=True)
class Training:
    """What became of one config; for each step ``'ok'`` or why not.

    Attributes:
        config: its name.
        trains_plain: its model computes finite losses, and their gradients.
        trains: the twin's does, and gradients reach the SE blocks.
        predicts_plain: its model predicts.
        predicts: the twin's does.
    """

    config: str
    trains_plain: str
    trains: str
    predicts_plain: str
    predicts: str


def one_of_each(outcomes: list[Outcome]) -> list[str]:
    """A config of each algorithm: one that builds, with a ResNet-50, and the shortest name."""
    chosen: dict[str, Outcome] = {}
    for outcome in sorted(
        (outcome for outcome in outcomes if outcome.swaps == OK),
        key=lambda o: (o.builds_plain != OK, 'r50' not in o.config, len(o.config)),
    ):
        chosen.setdefault(algorithm(outcome.config), outcome)
    return sorted(outcome.config for outcome in chosen.values())


def check_training(config: str, coco: Path) -> Training:
    """Train and test the model of a config and its twin, on two images.

    Args:
        config: its name.
        coco: the root of COCO's data, or of some of its images.

    Raises:
        UsageError: there are no images.
    """
    plain = read_config(config)
    twin = swap_backbone(plain)
    samples = load_samples(coco)
    (trains_plain, predicts_plain), (trains, predicts) = (_run(c, samples) for c in (plain, twin))
    return Training(config, trains_plain, trains, predicts_plain, predicts)


@cache
def load_samples(coco: Path, number: int = 2) -> list[dict[str, Any]]:
    """Load images with boxes and masks, made square.

    Raises:
        UsageError: they are not there.
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
    with redirect_stdout(StringIO()):  # pycocotools tells that it reads
        dataset.full_init()
    for sample in dataset:
        if sample is not None and len(sample['data_samples'].gt_instances) > 1:
            samples.append(sample)
        if len(samples) == number:
            return samples
    raise UsageError(f'{annotations} has fewer than {number} images with two large objects.')


def by_algorithm(built: list[Outcome], trained: list[Training]) -> list[str]:
    """A table of the algorithms with a backbone to swap: twins built, and what the tried one does.

    Args:
        built: what became of all configs.
        trained: what became of those that `one_of_each` chose.
    """
    tried = {algorithm(training.config): training for training in trained}
    counts: dict[str, list[bool]] = {}
    for outcome in built:
        if outcome.swaps == OK:
            counts.setdefault(algorithm(outcome.config), []).append(outcome.builds == OK)
    lines = [
        '| algorithm | twins that build | a step of training | a prediction |',
        '|---|---|---|---|',
    ]
    for name, builds in counts.items():
        one = tried[name]
        cells = (
            'ok' if twin == OK else 'neither plain nor SE' if plain != OK else '**plain only**'
            for plain, twin in (
                (one.trains_plain, one.trains),
                (one.predicts_plain, one.predicts),
            )
        )
        lines.append(f'| {name} | {sum(builds)}/{len(builds)} | {" | ".join(cells)} |')
    return lines


def _run(cfg: Config, samples: list[dict[str, Any]]) -> tuple[str, str]:
    """What became of training, and of prediction."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    torch.manual_seed(0)
    np.random.seed(0)
    for counter in ('epoch', 'iter'):  # some heads ask how far mmengine's Runner is
        MessageHub.get_current_instance().update_info(counter, 0)
    try:
        model = MODELS.build(_from_scratch(without_teachers_weights(cfg.model)))
        model = revert_sync_batchnorm(model)  # torch's computes on GPUs alone
        model.init_weights()
    except Exception as error:  # whatever the config's classes raise
        return first_line(error), first_line(error)
    kind = cfg.model.get('data_preprocessor', {}).get('type', '')
    samples = [_with_all_labels(sample, cfg) for sample in samples]
    results = []
    for step in (_train, _predict):
        try:
            step(model, deepcopy(samples), kind)
            results.append(OK)
        except Exception as error:  # whatever the config's classes raise
            results.append(first_line(error))
    return results[0], results[1]


def _train(model: torch.nn.Module, samples: list[dict[str, Any]], kind: str) -> None:
    model.train()
    data = model.data_preprocessor(_training_batch(samples, kind), True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    if not torch.isfinite(loss):
        raise ArithmeticError(f'the loss is {loss.item()}')
    loss.backward()
    gates = [p for name, p in model.named_parameters() if '.se.fc' in name and p.requires_grad]
    if gates and all(gate.grad is None for gate in gates):
        raise ArithmeticError('no gradient reaches the SE blocks')


@torch.no_grad()
def _predict(model: torch.nn.Module, samples: list[dict[str, Any]], kind: str) -> None:
    model.eval()
    if 'Track' in kind:
        model.test_step(_collate([_as_video(sample, frames=1) for sample in samples[:1]]))
    else:
        model.test_step(_collate(samples[:1]))


def _training_batch(samples: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """A batch as the data loaders of detectors, trackers and semi-supervised detectors make it."""
    if 'Track' in kind:
        return _collate([_as_video(sample, frames=2) for sample in samples])
    if 'MultiBranch' not in kind:
        return _collate(samples)
    labelled, unlabelled = samples
    branches = dict(sup=labelled, unsup_teacher=unlabelled, unsup_student=deepcopy(unlabelled))
    return {key: {branch: [sample[key]] for branch, sample in branches.items()} for key in labelled}


def _collate(samples: list[dict[str, Any]]) -> dict[str, list]:
    return {key: [sample[key] for sample in samples] for key in samples[0]}


def _as_video(sample: dict[str, Any], frames: int) -> dict[str, Any]:
    """A video that stands still."""
    track = TrackDataSample()
    track.video_data_samples = [deepcopy(sample['data_samples']) for _ in range(frames)]
    for index, frame in enumerate(track.video_data_samples):
        frame.set_metainfo(dict(frame_id=index, video_length=frames, ori_video_length=frames))
    track.set_metainfo(dict(key_frames_inds=[0], ref_frames_inds=list(range(1, frames))))
    return dict(inputs=sample['inputs'].repeat(frames, 1, 1, 1), data_samples=track)


def _with_all_labels(sample: dict[str, Any], cfg: Config) -> dict[str, Any]:
    """Add what some algorithms want: semantic labels, identities, proposals, and so on."""
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
        found.bboxes = found.bboxes.tensor  # as trackers' pipelines have them, and all take them
    if 'roi_head' in cfg.model and 'rpn_head' not in cfg.model:
        scores = torch.ones(len(objects))
        data.proposals = InstanceData(bboxes=objects.bboxes.clone(), scores=scores)
    identity = np.eye(3, dtype=np.float32)
    data.set_metainfo(
        dict(flip=False, flip_direction=None, border=(0, SIZE, 0, SIZE), homography_matrix=identity)
    )
    return sample


def _values(cfg: Any, key: str) -> list:
    """All that is under a key, anywhere in a config."""
    if isinstance(cfg, list | tuple):
        return [value for inner in cfg for value in _values(inner, key)]
    if not isinstance(cfg, dict):
        return []
    found = [cfg[key]] if key in cfg else []
    return found + [value for inner in cfg.values() for value in _values(inner, key)]


def _from_scratch(model: dict) -> dict:
    """A model that names no weights; its backbone's batch norm then needs its own statistics."""
    for key, value in model.items():
        if not isinstance(value, dict):
            continue
        if key == 'init_cfg' and str(value.get('type')).endswith('Pretrained'):
            model[key] = None
        else:
            _from_scratch(value)
    if 'norm_eval' in model:
        model['norm_eval'] = False
    return model
