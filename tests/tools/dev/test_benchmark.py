import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from se_det.errors import UsageError
from tools.dev.peers.contenders import PLAIN, contenders
from tools.dev.peers.plot import check_picture, draw
from tools.dev.peers.timing import Cost, Setting, as_table, benchmark, beside_the_fastest

TOOL = Path(__file__).parents[3] / 'tools/dev/benchmark.py'
SMALL = Setting(size=(128, 160))


@pytest.mark.parametrize(
    ('mode', 'only'),
    [
        ('train', ['se_det', 'mmpretrain, efficient_conv_bn_eval']),
        pytest.param('train', [], marks=pytest.mark.long),
        pytest.param('inference', [], marks=pytest.mark.long),
    ],
)
def test_contenders_are_timed_beside_the_plain_one(mode, only):
    costs = benchmark(replace(SMALL, mode=mode), rounds=1, only=only)
    known = [name for name in contenders('r50') if not only or any(part in name for part in only)]
    assert [cost.name for cost in costs] == list(dict.fromkeys([PLAIN, *known]))
    assert costs[0].name == PLAIN and costs[0].ratio(costs[0]) == 1
    assert all(cost.seconds > 0 for cost in costs)
    assert len(as_table(costs).splitlines()) == 2 + len(costs)
    if mode == 'train':
        saved = {cost.name: cost.saved_bytes / costs[0].saved_bytes for cost in costs}
        assert saved['se_det'] < 1.05
        assert saved['se_det, fused=False'] > 1.2
        assert saved['mmpretrain, efficient_conv_bn_eval'] > 1.2
    summary = beside_the_fastest(costs)
    assert summary.startswith('se_det to the fastest plain backbone (mmdet, plain')
    assert 'se_det to the fastest peer with SE (' in summary
    assert ('kept for backward' in summary) == (mode == 'train')


@pytest.mark.parametrize('mode', ['inference', pytest.param('train', marks=pytest.mark.long)])
def test_a_whole_detector(mode):
    setting = Setting(mode=mode, detector=True, size=(64, 96))
    costs = benchmark(setting, rounds=1, only=['fused=False'])
    assert [cost.name for cost in costs] == [PLAIN, 'se_det, fused=False']
    assert all(cost.seconds > 0 for cost in costs)


def _built_differently(known):
    return [c for c in known.values() if not (c.channels_last or c.efficient_conv_bn_eval)]


def test_from_scratch_nothing_is_frozen():
    known = contenders('r50', from_scratch=True)
    assert not any('efficient' in name for name in known)
    for contender in _built_differently(known):
        model = contender.build()
        model.train()
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert all(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))


OTHERS = ('x50', 'regnetx', 'regnety', 'hrnet', 'mobilenetv2')


@pytest.mark.parametrize(
    'backbone', ['r50', *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)]
)
def test_contenders_are_the_same_network(backbone):
    images = torch.randn(1, 3, 64, 64)
    plain, *others = (
        [x.shape for x in contender.build()(images)]
        for contender in _built_differently(contenders(backbone))
    )
    assert len(others) >= 3
    assert all(shapes == plain for shapes in others)


def test_the_tool_writes_table_figures_and_plot(tmp_path, run_python):
    command = ['--size', '32x32', '64x64', '--batch', '2', '--rounds', '1']
    command += ['--only', 'fused=False']
    outputs = ['--json', tmp_path / 'costs.json', '--plot', tmp_path / 'costs.png']
    (done,) = run_python([TOOL, *command, *outputs])
    assert done.returncode == 0, done.stderr
    assert 'r50, train, 2 x 64 x 64, fp32, cpu' in done.stdout
    assert done.stdout.count('| mmdet, plain |') == 2
    costs = json.loads((tmp_path / 'costs.json').read_text())
    assert [cost['setting']['size'] for cost in costs[::2]] == [[32, 32], [64, 64]]
    assert (tmp_path / 'costs.png').stat().st_size > 10_000


def test_the_plot_shows_all_panels_whole():
    costs = [
        Cost('ours', replace(SMALL, batch=batch, size=size), rounds=[batch * size[0]])
        for batch in (1, 2)
        for size in ((64, 64), (128, 128))
    ]
    first, second = draw(costs).axes
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] >= 256
    assert [list(line.get_ydata()) for line in second.lines] == [[128, 256]]


def test_a_picture_of_no_format(tmp_path):
    with pytest.raises(UsageError, match='--plot must end in'):
        check_picture('costs.doc')


@torch.no_grad()
def test_settings_change_no_result():
    torch.manual_seed(0)
    images, expected, state = torch.randn(1, 3, 32, 64), None, None
    for name, contender in contenders('r50').items():
        if name.startswith(f'{PLAIN}, ') or name == PLAIN:
            model = contender.build()
            model.load_state_dict(state or (state := model.state_dict()))
            contender.prepare(model, model)
            model.train()
            found = model(images)
            expected = expected or found
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_unknown_contender():
    with pytest.raises(UsageError, match='Known: mmdet, plain'):
        benchmark(SMALL, 1, only=['detectron'])


@pytest.mark.parametrize(
    ('setting', 'rounds', 'message'),
    [(SMALL, 0, '1 or more'), (replace(SMALL, device='cuda'), 1, 'No GPU')],
    ids=['rounds', 'device'],
)
def test_what_cannot_be_measured(setting, rounds, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UsageError, match=message):
        benchmark(setting, rounds)
