"""The library that MMDetection's CocoMetric evaluates with.

hotcoco computes what pycocotools computes, to the last digit of precision, recall and all twelve
metrics (tests/evaluation/test_coco_evaluation.py), at val2017's size in a second instead of a
minute. Of the others that were tried, faster-coco-eval 1.8 differs in the last digit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from unittest.mock import patch

import hotcoco
import numpy as np
from mmdet.evaluation.metrics import coco_metric
from mmengine.logging import print_log
from pycocotools.cocoeval import COCOeval, Params

from se_det.errors import UsageError

LIBRARIES = ('hotcoco', 'pycocotools')


class HotCOCOeval(COCOeval):
    """pycocotools' COCOeval, computed by hotcoco.

    It falls back to pycocotools where hotcoco differs by intention: annotations with id 0, which
    pycocotools counts as not found, scores that are not numbers, which hotcoco refuses, and
    evaluation regardless of categories (proposals).
    """

    def evaluate(self) -> None:
        """Match detections and objects."""
        found = self.cocoDt.dataset['annotations']
        self._hotcoco = None
        if (
            not self.params.useCats
            or 0 in self.cocoGt.anns
            or np.isnan([detection['score'] for detection in found]).any()
        ):
            super().evaluate()
            return
        params = self.params
        params.imgIds = list(np.unique(params.imgIds))
        params.catIds = list(np.unique(params.catIds))
        params.maxDets = sorted(params.maxDets)
        self._hotcoco = hotcoco.COCOeval(
            hotcoco.COCO(self.cocoGt.dataset), hotcoco.COCO(self.cocoDt.dataset), params.iouType
        )
        for name in ('imgIds', 'catIds', 'iouThrs', 'recThrs', 'maxDets', 'areaRng', 'areaRngLbl'):
            value = getattr(params, name)
            setattr(self._hotcoco.params, name, np.asarray(value).tolist())
        self._hotcoco.evaluate()

    def accumulate(self, p: Params | None = None) -> None:
        """Compute ``eval``: precision, recall and scores."""
        if self._hotcoco is None:
            super().accumulate(p)
            return
        self._hotcoco.accumulate()
        arrays = {key: self._hotcoco.eval[key] for key in ('precision', 'recall', 'scores')}
        self.eval = {'params': self.params, 'counts': [*arrays['precision'].shape], **arrays}


@contextmanager
def coco_evaluation(library: str) -> Iterator[None]:
    """Let mmdet's CocoMetric evaluate with a library, and log which.

    Args:
        library: ``'hotcoco'`` or ``'pycocotools'``.

    Raises:
        UsageError: it is neither.
    """
    if library not in LIBRARIES:
        raise UsageError(
            f'coco_evaluation must be one of {LIBRARIES}; got {library!r}. '
            'Add --cfg-options coco_evaluation=hotcoco'
        )
    other = next(name for name in LIBRARIES if name != library)
    print_log(
        f'COCO metrics by {library} {version(library)}; '
        f'by {other}, with the same digits: --cfg-options coco_evaluation={other}',
        logger='current',
    )
    evaluation = HotCOCOeval if library == 'hotcoco' else COCOeval
    with patch.object(coco_metric, 'COCOeval', evaluation):
        yield
