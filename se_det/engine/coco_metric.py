"""MMDetection's CocoMetric, computed by hotcoco or pycocotools.

hotcoco computes what pycocotools computes, to the last digit of precision, recall and all twelve
metrics (tests/engine/test_coco_metric.py), at val2017's size in a second instead of a
minute. Of the others that were tried, faster-coco-eval 1.8 differs in the last digit.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hotcoco
import numpy as np
from mmdet.evaluation import CocoMetric
from mmengine.fileio import get_local_path, load
from mmengine.logging import MMLogger, print_log
from pycocotools.cocoeval import COCOeval, Params
from terminaltables import AsciiTable

from se_det.datasets.check.annotation_file import read_annotations
from se_det.errors import UsageError
from se_det.evaluation.numbered_coco import NumberedCOCO


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
        indices = (hotcoco_index(c.dataset, params.iouType) for c in (self.cocoGt, self.cocoDt))
        self._hotcoco = hotcoco.COCOeval(*indices, params.iouType)
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


def hotcoco_index(dataset: dict, metric: str) -> hotcoco.COCO:
    """Index annotations or detections for hotcoco.

    It parses all that it is given, so names and, for boxes, segmentations are left out.

    Args:
        dataset: of a `NumberedCOCO`.
        metric: ``'bbox'`` or ``'segm'``.
    """
    annotations = dataset['annotations']
    if metric == 'bbox':
        annotations = [{k: a[k] for k in a.keys() - {'segmentation'}} for a in annotations]
    images = [{k: i[k] for k in ('id', 'width', 'height')} for i in dataset['images']]
    categories = [dict(id=c['id'], name=str(c['id'])) for c in dataset['categories']]
    return hotcoco.COCO(dict(images=images, categories=categories, annotations=annotations))


LIBRARIES = dict(hotcoco=HotCOCOeval, pycocotools=COCOeval)

NAMES = (
    *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
    *('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000'),
)


class EitherCocoMetric(CocoMetric):
    """A CocoMetric that evaluates with one of two libraries, and with the other if that fails.

    Also unlike CocoMetric, it takes ids that are text, annotations without ``iscrowd`` and
    thresholds in a list or alone; where nothing was detected, metrics are 0; and with ``classwise``
    the names are right for categories in any order. Result files have the ids of the annotations.

    Args:
        ann_file: as for CocoMetric.
        library: ``'hotcoco'`` or ``'pycocotools'``.
        iou_thrs: as for CocoMetric.
        sort_categories: as for CocoMetric.
        **options: as for CocoMetric.

    Attributes:
        evaluated: the results of all images, as `process` makes them.

    Raises:
        UsageError: the annotation file cannot be read.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        *,
        library: str = 'hotcoco',
        iou_thrs: float | Sequence[float] | None = None,
        sort_categories: bool = False,
        **options: Any,
    ) -> None:
        thresholds = None if iou_thrs is None else np.atleast_1d(np.array(iou_thrs, float))
        super().__init__(iou_thrs=thresholds, **options)
        self.library = library
        self.evaluated: list[dict] = []
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as path:
                self._coco_api = NumberedCOCO(read_annotations(path), sort_categories)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """Write result files, with the ids of the annotation file."""
        numbers = self.cat_ids
        self.cat_ids = [self._coco_api.category_ids[number - 1] for number in numbers]
        try:
            return super().results2json(results, outfile_prefix)
        finally:
            self.cat_ids = numbers

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics of all results.

        Raises:
            UsageError: masks are to be evaluated, and the detector gives none.
        """
        if 'segm' in self.metrics and results and 'masks' not in results[0][1]:
            raise UsageError(
                "The evaluator's metric has 'segm', but the detector gives no masks. "
                'Add --cfg-options val_evaluator.metric=bbox test_evaluator.metric=bbox'
            )
        self.evaluated = [found for _, found in results]
        if self._coco_api is None:
            with TemporaryDirectory() as folder:
                prefix = self.outfile_prefix or str(Path(folder, 'annotations'))
                path = self.gt_to_coco_json([truth for truth, _ in results], prefix)
                self._coco_api = NumberedCOCO(load(path))
        other = next(name for name in LIBRARIES if name != self.library)
        try:
            return self._compute_by(self.library, results)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # hotcoco's own errors are no Exception
            print_log(
                f'COCO metrics: {self.library} {version(self.library)} raised '
                f'{type(error).__name__}: {error}. {other} takes over.',
                logger='current',
                level=30,  # WARNING
            )
        return self._compute_by(other, results)

    def _compute_by(self, library: str, results: list) -> dict[str, float]:
        """As CocoMetric, which takes its own COCOeval alone."""
        logger = MMLogger.get_current_instance()
        found = [predicted for _, predicted in results]
        self.cat_ids = self.cat_ids or self._coco_api.get_cat_ids(self.dataset_meta['classes'])
        self.img_ids = self.img_ids or self._coco_api.get_img_ids()
        values = {}
        with TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or str(Path(folder, 'results'))
            files = self.results2json(found, prefix)
            if self.format_only:
                logger.info(f'Results are in {Path(prefix).parent}')
                return values
            for metric in self.metrics:
                logger.info(f'Evaluating {metric}...')
                if metric == 'proposal_fast':
                    numbers = self.proposal_nums
                    recalls = self.fast_eval_recall(found, numbers, self.iou_thrs, logger=logger)
                    values |= {f'AR@{n}': ar for n, ar in zip(numbers, recalls, strict=True)}
                else:
                    values |= self._evaluated(library, metric, load(files[metric]))
        return values

    def _evaluated(self, library: str, metric: str, found: list[dict]) -> dict[str, float]:
        """The values of ``'bbox'``, ``'segm'`` or ``'proposal'``."""
        is_proposal = metric == 'proposal'
        if metric == 'segm':
            for detection in found:
                del detection['bbox']  # the area is that of the mask
        evaluation = LIBRARIES[library](
            self._coco_api, self._coco_api.loadRes(found), 'bbox' if is_proposal else metric
        )
        params = evaluation.params
        params.catIds, params.imgIds, params.iouThrs = self.cat_ids, self.img_ids, self.iou_thrs
        params.maxDets, params.useCats = list(self.proposal_nums), int(not is_proposal)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        stats = dict(zip(NAMES, np.round(evaluation.stats, 3).tolist(), strict=True))
        chosen = self.metric_items
        if chosen is None:
            chosen = NAMES[6:] if is_proposal else NAMES[:6]
        if unknown := set(chosen) - set(NAMES):
            raise KeyError(f'metric item {unknown.pop()!r} is not one of {", ".join(NAMES)}')
        if is_proposal:
            return {name: stats[name] for name in chosen}
        by_class = self._by_class(evaluation) if self.classwise else {}
        first = ' '.join(f'{stats[name]:.3f}' for name in NAMES[:6])
        MMLogger.get_current_instance().info(f'{metric}_mAP_copypaste: {first}')
        return {**by_class, **{f'{metric}_{name}': stats[name] for name in chosen}}

    def _by_class(self, evaluation: COCOeval) -> dict[str, float]:
        """The AP of each class; logs a table with AP50, AP75 and the APs of sizes."""
        precision = evaluation.eval['precision'][..., -1]  # (T, R, K, A) at most detections
        precision = np.ma.masked_less_equal(precision, -1)
        rows = []
        for k, category in enumerate(self._coco_api.loadCats(self.cat_ids)):
            whole = precision[:, :, k]
            parts = [whole[..., 0], whole[0, :, 0], whole[5, :, 0]]
            parts += [whole[..., size] for size in (1, 2, 3)]
            aps = [round(float(np.ma.filled(part.mean(), np.nan)), 3) for part in parts]
            rows.append((category['name'], *aps))
        titles = ('category', 'mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
        MMLogger.get_current_instance().info(f'\n{AsciiTable([titles, *rows]).table}')
        return {f'{name}_precision': ap for name, ap, *_ in rows}


def checked_library(library: str) -> str:
    """Check the value of ``coco_evaluation`` in a config, and log what it means.

    Raises:
        UsageError: it is none of the libraries.
    """
    if library not in LIBRARIES:
        raise UsageError(
            f'coco_evaluation must be one of {(*LIBRARIES,)}; got {library!r}. '
            'Add --cfg-options coco_evaluation=hotcoco'
        )
    other = next(name for name in LIBRARIES if name != library)
    MMLogger.get_current_instance().info(
        f'COCO metrics by {library} {version(library)}; '
        f'by {other}, with the same digits: --cfg-options coco_evaluation={other}'
    )
    return library
