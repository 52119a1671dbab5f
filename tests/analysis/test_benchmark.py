import pytest
import torch

from se_det.analysis.benchmark import PLAIN, as_table, benchmark, contenders
from se_det.errors import UsageError


@pytest.mark.parametrize('mode', ['train', 'inference'])
def test_all_contenders_are_timed_beside_the_plain_one(mode):
    costs = benchmark(50, mode, batch=1, size=(64, 96), rounds=1, device='cpu')
    assert [cost.name for cost in costs] == list(contenders(50))
    assert costs[0].name == PLAIN and costs[0].ratio == 1
    assert all(cost.seconds > 0 for cost in costs)
    assert len(as_table(costs).splitlines()) == 2 + len(costs)
    if mode == 'train':
        saved = {cost.name: cost.saved_bytes / costs[0].saved_bytes for cost in costs}
        assert saved['se_det SEResNet'] < 0.75
        assert saved['se_det SEResNet, fused=False'] > 1.2


@torch.no_grad()
def test_the_floor_computes_what_the_plain_one_does():
    torch.manual_seed(0)
    plain, folded = (build() for build in list(contenders(50).values())[:2])
    folded.load_state_dict(plain.state_dict())
    for model in (plain, folded):
        model.train()
    images = torch.randn(1, 3, 96, 128)
    for ours, theirs in zip(folded(images), plain(images), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_unknown_contender():
    with pytest.raises(UsageError, match='Known: mmdet ResNet'):
        benchmark(50, 'train', 1, (64, 96), 1, 'cpu', only=['detectron'])


@pytest.mark.parametrize(
    ('changed', 'message'), [(dict(rounds=0), '1 or more'), (dict(device='cuda'), 'No GPU')]
)
def test_what_cannot_be_measured(changed, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    arguments = dict(depth=50, mode='train', batch=1, size=(64, 96), rounds=1, device='cpu')
    with pytest.raises(UsageError, match=message):
        benchmark(**{**arguments, **changed})
