"""What the report reads of training, before and after a checkpoint."""

import numpy as np
import pytest
from mmengine.logging import MessageHub

from se_det.report.history import VALIDATED_AT, History, smooth


@pytest.fixture
def hub():
    hub = MessageHub('report-test')
    for name, value in (('max_epochs', 2), ('max_iters', 8)):
        hub.update_info(name, value)
    for step in range(8):
        hub.update_scalar('train/loss', 8.0 - step)
        hub.update_scalar('train/loss_cls', 4.0)
        hub.update_scalar('train/lr', 0.1)
        hub.update_scalar('train/time', 0.5)
        if step in (3, 7):
            hub.update_scalar('val/coco/bbox_mAP', step / 10)
            hub.update_scalar('val/coco/bbox_mAP_s', step / 20)
            hub.update_scalar(VALIDATED_AT, step + 1)
    return hub


def test_history_of_a_hub_and_of_its_checkpoint(hub):
    saved = hub.state_dict()
    for history in (
        History.read(hub.log_scalars, hub.runtime_info),
        History.read(saved['log_scalars'], saved['runtime_info']),
    ):
        assert history.losses['loss'].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
        assert set(history.losses) == {'loss', 'loss_cls'}
        assert history.validated_at.tolist() == [4, 8]
        assert {name: list(values) for name, values in history.metrics.items()} == {
            'bbox_mAP': [0.3, 0.7]
        }
        assert history.epoch_length == 4
        assert history.seconds.sum() == 4


def test_nothing_logged():
    history = History.read({}, {})
    assert history.losses == {} and history.metrics == {} and history.epoch_length is None


def test_smoothing():
    values = np.sin(np.arange(1000.0))
    at, mean, low, high = smooth(values, window=100, points=50)
    assert len(at) == 50 and at[0] == 1 and at[-1] == 1000
    inner = slice(5, -5)
    np.testing.assert_allclose(mean[inner], 0, atol=0.02)
    np.testing.assert_allclose(high[inner], np.sin(0.8 * np.pi / 2), atol=0.03)
    np.testing.assert_allclose(low[inner], -high[inner], atol=0.05)
    assert smooth(np.array([3.0]), window=1)[1].tolist() == [3.0]
