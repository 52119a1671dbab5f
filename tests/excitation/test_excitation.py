"""Gates are those that the detector computes, and the statistics are what they are called."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import Runner

from se_det.backbones import SEResNet
from se_det.engine.launch import load_config
from se_det.errors import UsageError
from se_det.excitation import as_text, constant_gates, plot_excitation
from se_det.excitation.gates import BlockGates, Excitation, collect_gates, load_detector, se_blocks
from se_det.excitation.statistics import block_statistics, class_specificity, stage_statistics

FILES = ['blocks.csv', 'gates.csv', 'gates_by_class.png', 'gates_spread.png', 'stages.csv']


@pytest.fixture(scope='module')
def cfg(tiny, tmp_path_factory):
    """A small Faster R-CNN SE-R18 on eight drawn images."""
    folder = tmp_path_factory.mktemp('shapes')
    options = {
        **tiny,
        'model.backbone.depth': 18,
        'model.neck.in_channels': [8, 16, 32, 64],
        'model.test_cfg.rcnn.score_thr': 0.0,
        'val_dataloader.dataset.num_images': 8,
        'val_dataloader.dataset.data_root': f'{folder}/',
        'val_evaluator.ann_file': f'{folder}/annotations/instances_val.json',
    }
    return load_config('configs/faster_rcnn_se_r50_shapes.py', cfg_options=options)


@pytest.fixture(scope='module')
def checkpoint(cfg, tmp_path_factory):
    """Weights whose gates differ from channel to channel and image to image."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for name, parameter in model.backbone.named_parameters():
        if '.se.fc' in name:
            torch.nn.init.normal_(parameter, std=1.0)
    path = tmp_path_factory.mktemp('weights') / 'detector.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def model(cfg, checkpoint):
    return load_detector(cfg, checkpoint)


@pytest.fixture(scope='module')
def excitation(cfg, model):
    return collect_gates(cfg, model, 8)


def test_gates_are_what_scales_the_residual(cfg, model, excitation):
    """Block by block, by the composition of the paper, on the image without its padding."""
    loader = Runner.build_dataloader({**cfg.val_dataloader, 'batch_size': 1}, seed=0)
    for row, batch in zip((0, 1), loader, strict=False):
        data = model.data_preprocessor(batch, False)
        x, size = data['inputs'], data['data_samples'][0].img_shape
        with torch.no_grad():
            stem = model.backbone
            x = stem.maxpool(stem.relu(stem.norm1(stem.conv1(x))))
            gates = {}
            for stage, layer in enumerate(model.backbone.res_layers, 2):
                for number, block in enumerate(getattr(model.backbone, layer), 1):
                    residual = block.last_norm(block.before_last_norm(x))
                    height, width = (-(-edge // 2**stage) for edge in size)
                    z = residual[:, :, :height, :width].mean((2, 3))
                    hidden = torch.relu(z @ block.se.fc1.weight[:, :, 0, 0].T + block.se.fc1.bias)
                    logits = hidden @ block.se.fc2.weight[:, :, 0, 0].T + block.se.fc2.bias
                    gates[f'SE_{stage}_{number}'] = logits.sigmoid()[0]
                    identity = x if block.downsample is None else block.downsample(x)
                    x = torch.relu(identity + residual * logits.sigmoid()[:, :, None, None])
        assert all(not se._forward_hooks for *_, se in se_blocks(model.backbone))
        assert list(gates) == [block.name for block in excitation.blocks]
        for block in excitation.blocks:
            np.testing.assert_allclose(block.gates[row], gates[block.name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('depth', 'stages', 'shown'),
    [
        (50, True, ['SE_2_3', 'SE_3_4', 'SE_4_6', 'SE_5_1', 'SE_5_2', 'SE_5_3']),  # the paper's
        (18, True, ['SE_2_2', 'SE_3_2', 'SE_4_2', 'SE_5_1', 'SE_5_2']),
        (18, False, ['SE_2_2', 'SE_4_2']),
    ],
)
def test_the_blocks_that_the_paper_shows(depth, stages, shown):
    with torch.device('meta'):
        backbone = SEResNet(depth, se_cfg=dict(stages=(True, stages, True, stages)))
    assert [name for name, _, is_shown, _ in se_blocks(backbone) if is_shown] == shown


def test_images_hold_the_classes_of_their_annotations(cfg, excitation):
    dataset = Runner.build_dataloader(dict(cfg.val_dataloader), seed=0).dataset
    for index in range(8):
        held = np.flatnonzero(excitation.holds[index])
        assert set(held) == set(dataset.get_cat_ids(index))


def _block(gates, stage=2):
    return BlockGates(f'SE_{stage}_1', stage, True, np.array(gates, np.float32), parameters=10)


def test_statistics_by_hand():
    gates = [[0.05, 0.5], [0.05, 0.95], [0.05, 0.5], [0.05, 0.95]]
    holds = np.array([[True, False], [False, True], [True, False], [False, True]])
    excitation = Excitation([_block(gates)], ('a', 'b'), holds, 1000)
    (block,) = block_statistics(excitation)
    assert block.near_zero == 0.5 and block.near_one == 0.25
    assert block.mean == pytest.approx((0.05 + 0.725) / 2)
    assert block.std == pytest.approx(0.225 / 2)
    assert block.variation == pytest.approx(0.225 / np.sqrt(0.05**2 + (0.25 + 0.9025) / 2))
    assert block.specificity == pytest.approx(1)
    assert block.chance < 1


def test_specificity_of_gates_that_do_not_depend_on_the_class_is_there_by_chance():
    rng = np.random.default_rng(0)
    holds = np.eye(4, dtype=bool)[rng.integers(0, 4, 400)]
    excitation = Excitation([_block(rng.normal(0, 0.1, (400, 32)))], tuple('abcd'), holds, 1000)
    (block,) = block_statistics(excitation)
    assert block.chance == pytest.approx(3 / 399, rel=0.2)
    assert block.specificity == pytest.approx(block.chance, rel=0.3)


def test_specificity_counts_an_image_for_each_class_it_holds():
    holds = np.array([[True, True], [True, False], [False, True]])
    gates = np.array([[0.5], [0.2], [0.8]])
    pairs = np.array([0.5, 0.2, 0.5, 0.8])  # of class a, then of class b
    total = ((pairs - 0.5) ** 2).sum()
    between = 2 * (0.35 - 0.5) ** 2 + 2 * (0.65 - 0.5) ** 2
    assert class_specificity(gates, holds) == pytest.approx(between / total)


def test_stages_that_could_go(excitation):
    constant = [np.full((8, 4), 0.3), np.random.default_rng(0).random((8, 4))]
    blocks = block_statistics(
        replace(excitation, blocks=[_block(constant[0], 5), _block(constant[1], 4)])
    )
    stages = stage_statistics(blocks, 1000)
    assert [(stage.stage, stage.parameters, stage.share) for stage in stages] == [
        (4, 10, 0.01),
        (5, 10, 0.01),
    ]
    text = as_text(blocks, stages)
    assert 'Could go without SE: stage 5;' in text
    assert 'stages=(False, False, True, False)' in text
    measured = [replace(stage, map=0.5, map_constant=0.3) for stage in stages]
    assert 'No stage could go without SE' in as_text(blocks, measured)


def test_constant_gates_replace_the_gates(cfg, model, excitation):
    """An image's own gates change nothing, others do, and afterwards nothing is left."""
    loader = Runner.build_dataloader({**cfg.val_dataloader, 'batch_size': 1}, seed=0)
    x = model.data_preprocessor(next(iter(loader)), False)['inputs']
    with torch.no_grad():
        expected = model.backbone(x)[-1]
        with constant_gates._constant(model, {b.name: b.gates[0] for b in excitation.blocks}):
            own = model.backbone(x)[-1]
        with constant_gates._constant(model, {'SE_5_2': excitation.blocks[-1].gates[0] / 2}):
            halved = model.backbone(x)[-1]
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
        assert (halved - expected).abs().max() > 1e-3
        torch.testing.assert_close(model.backbone(x)[-1], expected, rtol=0, atol=0)


def test_stages_are_held_constant_in_turn(cfg, model, excitation, monkeypatch):
    def count_hooks(_, model):
        return sum(len(se._forward_hooks) for *_, se in se_blocks(model.backbone))

    assert 0 <= constant_gates._evaluate(cfg, model) <= 1
    monkeypatch.setattr(constant_gates, '_evaluate', count_hooks)
    measured = constant_gates.map_with_constant_gates(cfg, model, excitation)
    assert measured == {None: 0, 2: 2, 3: 2, 4: 2, 5: 2}


def test_files(cfg, checkpoint, excitation, tmp_path):
    blocks, stages = plot_excitation(cfg, checkpoint, tmp_path / 'out', num_images=8)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == FILES
    with (tmp_path / 'out/gates.csv').open() as file:
        rows = list(csv.DictReader(file))
    shown = [block for block in excitation.blocks if block.is_shown]
    assert len(rows) == sum(block.gates.shape[1] for block in shown)
    common = excitation.common_classes[0]
    gates = shown[0].gates[excitation.holds[:, common]]
    name = excitation.classes[common]
    assert float(rows[3][f'mean {name}']) == pytest.approx(gates[:, 3].mean(), abs=1e-4)
    assert float(rows[3][f'std {name}']) == pytest.approx(gates[:, 3].std(), abs=1e-4)
    assert float(rows[3]['mean all images']) == pytest.approx(shown[0].gates[:, 3].mean(), abs=1e-4)
    with (tmp_path / 'out/blocks.csv').open() as file:
        assert [row['name'] for row in csv.DictReader(file)] == [block.name for block in blocks]
    assert sum(stage.parameters for stage in stages) == sum(b.parameters for b in blocks)


def test_mistakes(cfg, checkpoint, tiny, tmp_path, tmp_path_factory):
    plain = load_config('configs/faster_rcnn_r50_shapes.py', cfg_options=tiny)
    weights = tmp_path_factory.mktemp('plain') / 'plain.pth'
    torch.save(MODELS.build(plain.model).state_dict(), weights)
    with pytest.raises(UsageError, match='expected a backbone with SE, found ResNet'):
        plot_excitation(plain, str(weights), tmp_path)
    with pytest.raises(UsageError, match='does not fit the SEResNet'):
        plot_excitation(cfg, str(weights), tmp_path)
    with pytest.raises(UsageError, match="none of the 8 images holds 'dog'"):
        plot_excitation(cfg, checkpoint, tmp_path, num_images=8, classes=['dog'])
    with pytest.raises(UsageError, match='--num-images must be at least 2; got 1'):
        plot_excitation(cfg, checkpoint, tmp_path, num_images=1)
    with pytest.raises(UsageError, match='No checkpoint at'):
        plot_excitation(cfg, 'gone.pth', tmp_path)
    assert list(tmp_path.iterdir()) == []
