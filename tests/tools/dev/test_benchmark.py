import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from se_det.errors import UsageError
from tools.dev.peers.contenders import PLAIN, contenders
from tools.dev.peers.timing import Setting, as_table, benchmark, beside_the_fastest

TOOL = Path(__file__).parents[3] / 'tools/dev/benchmark.py'
SMALL = Setting(size=(128, 160))


@pytest.mark.parametrize(
    ('mode', 'only'),
    [
        ('train', ['fused=', 'mmpretrain, efficient_conv_bn_eval']),
        pytest.param('train', [], marks=pytest.mark.long),
        pytest.param('inference', [], marks=pytest.mark.long),
    ],
)
def test_contenders_are_timed_beside_the_plain_one(mode, only):
    costs = benchmark(replace(SMALL, mode=mode), rounds=1, only=only)
    known = [name for name in contenders('r50') if not only or any(part in name for part in only)]
    assert [cost.name for cost in costs] == list(dict.fromkeys([PLAIN, *known]))
    assert costs[0].ratio(costs[0]) == 1
    assert all(cost.seconds > 0 for cost in costs)
    assert len(as_table(costs).splitlines()) == 2 + len(costs)
    if mode == 'train':
        saved = {cost.name: cost.saved_bytes / costs[0].saved_bytes for cost in costs}
        assert saved['se_det, fused=True'] < 1.05
        assert saved['se_det, fused=False'] > 1.2
        assert saved['mmpretrain, efficient_conv_bn_eval'] > 1.2
    costs[-2].name = 'se_det'  # on a CPU, fused=True is the default
    summary = beside_the_fastest(costs)
    assert summary.startswith('se_det to the fastest plain backbone (mmdet, plain')
    assert 'se_det to the fastest peer with SE (' in summary
    assert ('kept for backward' in summary) == (mode == 'train')


def test_the_tool_prints_a_table_of_whole_detectors(monkeypatch, capsys):
    size = ['--size', '64x96', '--rounds', '1', '--only', 'fused=False']
    monkeypatch.setattr('sys.argv', [str(TOOL), '--detector', '--mode', 'inference', *size])
    monkeypatch.syspath_prepend(TOOL.parent)
    runpy.run_path(str(TOOL), run_name='__main__')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Faster R-CNN r50, inference, 1 x 64 x 96, fp32, cpu'
    rows = [line.split(' | ')[0] for line in lines if line.startswith('| ')]
    assert rows == ['| backbone', f'| {PLAIN}', '| se_det, fused=False']


def _built_differently(known):
    return [c for c in known.values() if not (c.channels_last or c.efficient_conv_bn_eval)]


def test_from_scratch_nothing_is_frozen():
    known = contenders('r50', from_scratch=True)
    assert not any('efficient' in name for name in known)
    known.pop('mmpretrain')  # it does not build on the meta device; its options are mmdet's
    for contender in _built_differently(known):
        with torch.device('meta'):
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


@pytest.mark.parametrize(
    ('setting', 'rounds', 'only', 'message'),
    [
        (SMALL, 0, [], '1 or more'),
        (replace(SMALL, device='cuda'), 1, [], 'No GPU'),
        (SMALL, 1, ['detectron'], 'Known: mmdet, plain'),
    ],
)
def test_what_cannot_be_measured(setting, rounds, only, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UsageError, match=message):
        benchmark(setting, rounds, only)
