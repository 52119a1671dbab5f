"""The hook hands CocoMetric's results to the page, and a page that fails stops no training.

tests/evaluation/test_mutated_exports.py compares the scores with those of CocoMetric.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.logging import MMLogger

from se_det.report import ReportHook, hook

from .conftest import make_truth


def test_more_masks_than_255():
    """pycocotools counts a list of masks in eight bits."""
    truth = make_truth([(1, 1, [10, 10, 30, 40])])
    mask = truth.coco.annToRLE(truth.coco.anns[1])
    many = dict(img_id=1, scores=np.full(300, 0.5), labels=np.zeros(300, int), masks=[mask] * 300)
    metric = SimpleNamespace(
        cat_ids=[1, 2, 3], _coco_api=truth.coco, metrics=['segm', 'proposal'], evaluated=[many]
    )
    (scores,) = hook._scores(metric)
    assert scores.stats['AP'] == pytest.approx(1)
    assert scores.diagnosis.images[0].wrong.sum() == 99


def test_a_page_that_fails_is_an_error_in_the_log(log):
    runner = SimpleNamespace(val_loop=None, logger=MMLogger.get_current_instance())  # lacks all
    ReportHook().after_train(runner)
    assert any('could not be written' in text for text in log)
