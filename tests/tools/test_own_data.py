"""The README's config for other data, with images of blood cells and of steel."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SCALES = [
    f'{split}_dataloader.dataset.pipeline.{index}.scale=(128,96)'
    for split, index in (('train', 2), ('val', 1))
]
FEW = ['train_cfg.max_epochs=1', 'model.test_cfg.rcnn.score_thr=0.0']
FEW += [f'{split}_dataloader.dataset.indices=4' for split in ('train', 'val')]


def _readme_config() -> str:
    blocks = re.findall(r'```python\n(.*?)```', (CHECKOUT / 'README.md').read_text(), re.DOTALL)
    (config,) = [block for block in blocks if 'classes = (' in block]
    return config.replace("_base_ = '", f"_base_ = '{CHECKOUT}/configs/")


def test_the_readmes_child_config(shared, tmp_path, run, quick):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'cells').symlink_to(shared / 'bccd')
    (tmp_path / 'cells.py').write_text(_readme_config())
    finished = run('train.py', 'cells.py', options=quick + SCALES + FEW)
    assert finished.returncode == 0, finished.stderr
    assert 'bbox_mAP' in finished.stdout
    assert (tmp_path / 'work_dirs/cells/epoch_1.pth').exists()


@pytest.mark.long
def test_options_alone(shared, tmp_path, run, quick):
    classes = 'crazing,inclusion,patches,pitted_surface,rolled-in_scale,scratches'
    annotations = f'{shared}/neu_det/annotations/instances_{{}}.json'
    options = ['model.roi_head.bbox_head.num_classes=6']
    for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = f'{loader}_dataloader.dataset'
        options += [
            f'{dataset}.data_root={shared}/neu_det/',
            f'{dataset}.ann_file={annotations.format(split)}',
            f'{dataset}.data_prefix.img={split}/',
            f'{dataset}.metainfo.classes=({classes})',
        ]
    options += [
        f'{split}_evaluator.ann_file={annotations.format("val")}' for split in ('val', 'test')
    ]
    config = 'configs/faster_rcnn_se_r50.py'
    finished = run('train.py', config, options=quick + SCALES + FEW + options)
    assert finished.returncode == 0, finished.stderr
    assert 'bbox_mAP' in finished.stdout
