"""The paper's protocol in miniature: trainings start from the weights that were pretrained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from se_det.engine.experiments.plan import read_plan
from tools.dev.pretrain import augmented, pretrain

ROOT = Path(__file__).parents[3]
PLANS = ['neu_det_pretrained', 'bccd_pretrained']


def write_images(file, number):
    """Images of two classes, dark and bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 2
    pixels = (120 * labels[:, None, None, None] + rng.integers(0, 99, (number, 32, 32, 3))).astype(
        np.uint8
    )
    files = [cv2.imencode('.jpg', image)[1] for image in pixels]
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(file, jpeg=np.concatenate(files), offsets=offsets, labels=labels)


def test_augmented_images_are_shifted_and_flipped():
    images = torch.arange(8 * 8, dtype=torch.uint8).view(1, 1, 8, 8).expand(500, 3, 8, 8)
    found = {tuple(image[0].flatten().tolist()) for image in augmented(images)}
    assert len(found) == 3 * 3 * 2
    assert images[0, 0].flatten().tolist() in map(list, found)


@pytest.mark.parametrize('plan', PLANS)
@pytest.mark.parametrize('arm', ['plain', 'se'])
def test_trainings_start_from_the_weights_of_their_seed(pretrained, plan, arm, monkeypatch):
    monkeypatch.chdir(pretrained.parents[1])
    cfg = read_plan(str(ROOT / f'configs/experiments/{plan}.py')).config(arm, 3, None)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    expected = torch.load(pretrained / f'{arm}_3.pth')
    found = backbone.state_dict()
    assert found.keys() == expected.keys()
    assert ('layer1.0.se.fc1.weight' in found) == (arm == 'se')
    for key, weight in found.items():
        torch.testing.assert_close(weight, expected[key], rtol=0, atol=0)
    backbone.train()
    assert not any(module.training for module in backbone.modules() if 'Norm' in str(type(module)))


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """The folder of weights of seed 3, of an epoch on eight images."""
    folder = tmp_path_factory.mktemp('pretrained')
    write_images(folder / 'train.npz', 16)
    write_images(folder / 'val.npz', 4)
    out = folder / 'work_dirs/pretrained'
    pretrain(folder, out, seeds=[3], epochs=1, fraction=0.5, device='cpu')
    result = json.loads((out / 'se_3.json').read_text())
    assert 0 <= result['top1'] <= 100 and result['images'] == 8
    return out


@pytest.mark.long
def test_a_unit_at_a_tenth_of_its_size(shared, tmp_path, monkeypatch):
    """Pretraining, and what starts from it, with a tenth of the images and of the epochs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    for data in ('neu_det', 'bccd'):
        (tmp_path / 'data' / data).symlink_to(shared / data)
    out = Path('work_dirs/pretrained')
    pretrain(shared / 'imagenet32', out, seeds=[0], epochs=3, fraction=0.1, device='cpu')
    for arm in ('plain', 'se'):
        assert json.loads((out / f'{arm}_0.json').read_text())['top1'] > 3  # chance: 0.5
    for plan, images, epochs in zip(PLANS, (144, 20), (1, 2), strict=True):
        Path(f'{plan}.py').write_text(
            f"_base_ = '{ROOT}/configs/experiments/{plan}.py'\n"
            f'seeds = 1\n'
            f'cfg_options = dict(train_dataloader=dict(dataset=dict(indices={images})),\n'
            f'    train_cfg=dict(max_epochs={epochs}, val_interval={epochs}),\n'
            f"    param_scheduler={{'1': dict(T_max={epochs}, end={epochs})}})\n"
        )
        run = [sys.executable, ROOT / 'tools/run_experiment.py', f'{plan}.py']
        subprocess.run(run, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
        for arm in ('plain', 'se'):
            result = json.loads(Path(f'work_dirs/{plan}/{arm}/seed_0/result.json').read_text())
            print(plan, arm, result['metrics'])
            assert result['metrics']['coco/bbox_mAP'] >= 0
