"""The hook hands CocoMetric's results to the page, and a page that fails stops no training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.logging import MMLogger

from se_det.report import ReportHook, hook
from se_det.report.scores import score


@pytest.fixture
def results(make_random):
    """Random detections as CocoMetric keeps them, its truth, and the same as `Results`."""
    truth, found = make_random(1)
    per_image = []
    for index, image in enumerate(truth.images.tolist()):
        mine = found.image == index
        boxes = found.shapes[mine].copy()
        boxes[:, 2:] += boxes[:, :2]
        per_image.append(
            dict(img_id=image, bboxes=boxes, scores=found.score[mine], labels=found.category[mine])
        )
    return per_image, truth, found


def test_scores_are_of_what_the_metric_saw(results):
    per_image, truth, found = results
    metric = SimpleNamespace(
        cat_ids=truth.labels.tolist(),
        _coco_api=truth.coco,
        metrics=['bbox', 'proposal'],
        evaluated=per_image,
    )
    (scores,) = hook._scores(metric)
    expected = score(truth, found, 'bbox')
    np.testing.assert_allclose(
        list(scores.stats.values()), list(expected.stats.values()), atol=1e-12
    )
    assert scores.diagnosis.counts == expected.diagnosis.counts


def test_more_masks_than_255(make_truth):
    """pycocotools counts a list of masks in eight bits."""
    box = [10, 10, 30, 40]
    truth = make_truth([(1, 1, box)])
    mask = truth.coco.annToRLE(truth.coco.anns[1])
    many = dict(img_id=1, scores=np.full(300, 0.5), labels=np.zeros(300, int), masks=[mask] * 300)
    metric = SimpleNamespace(
        cat_ids=truth.labels.tolist(), _coco_api=truth.coco, metrics=['segm'], evaluated=[many]
    )
    (scores,) = hook._scores(metric)
    assert scores.stats['AP'] == pytest.approx(1)
    assert scores.diagnosis.images[0].wrong.sum() == 99


def test_a_page_that_fails_is_an_error_in_the_log(monkeypatch, log):
    def fail(*_, **__):
        raise OSError('disk full')

    monkeypatch.setattr(hook, 'write_run_page', fail)
    monkeypatch.setattr(ReportHook, '_history', lambda *_: None)
    runner = SimpleNamespace(val_loop=None, logger=MMLogger.get_current_instance())
    ReportHook().after_train(runner)
    assert any('could not be written' in text for text in log)
    assert not Path('report.html').exists()
