"""What is wrong with detections at IoU 0.5, by hotcoco: TIDE's errors, a confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import hotcoco
import numpy as np

from se_det.engine.coco_metric import hotcoco_index
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.results import Results

# TIDE's six types of errors (Bolya et al. 2020, arXiv 2008.08115), by hotcoco's names for them.
ERRORS = dict(
    Cls='classification',
    Loc='localisation',
    Both='both',
    Dupe='duplicate',
    Bkg='background',
    Miss='missed',
)


@dataclass(frozen=True)
class JudgedImage:
    """An image's detections, by falling score, and its ground truth.

    Attributes:
        image_id: in the annotations.
        classes: ids of the categories of the detections, ``(D,)``.
        scores: ``(D,)``.
        shapes: boxes ``[x, y, width, height]``, ``(D, 4)``, or run-length encoded masks.
        wrong: ``(D,)`` bool; a detection that COCO ignores is not.
        truth: COCO annotations that are no crowds, G of them.
        truth_scores: the score of the detection that each is matched with, or -inf, ``(G,)``.
    """

    image_id: int
    classes: np.ndarray
    scores: np.ndarray
    shapes: np.ndarray | list[dict]
    wrong: np.ndarray
    truth: Sequence[dict]
    truth_scores: np.ndarray

    def f1(self, threshold: float) -> float:
        """``2 TP / (2 TP + FP + FN)`` of the detections of at least this score; 1 if all are 0."""
        correct = (self.truth_scores >= threshold).sum()
        total = correct + (self.wrong & (self.scores >= threshold)).sum() + len(self.truth)
        return float(2 * correct / total) if total else 1.0


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with detections at IoU 0.5.

    Attributes:
        images: every image.
        ap50: AP at IoU 0.5, the mean over classes with ground truth.
        gains: by how much `ap50` would rise if all errors of a type were fixed and nothing else.
        counts: how many errors there are of each type.
        threshold: the score from which on F1, over all classes, is highest.
        confusion: ``(K + 1, K + 1)`` int, of detections of at least this score: ground truth down,
            detections across; the last row is of detections where no object is, the last column of
            objects that were not found.
    """

    images: list[JudgedImage]
    ap50: float
    gains: dict[str, float]
    counts: dict[str, int]
    threshold: float
    confusion: np.ndarray


def diagnose(truth: GroundTruth, detections: Results, metric: str) -> Diagnosis:
    """Match detections as COCO does at IoU 0.5, and count what is wrong.

    Detections that COCO ignores, for a crowd or after the best 100 of an image and class, count
    nowhere.

    Args:
        truth: annotations.
        detections: of its images.
        metric: ``'bbox'`` or ``'segm'``: overlap of boxes or of masks.
    """
    found = _annotations(truth, detections, metric)
    evaluation = _evaluate(truth, truth.coco.dataset['annotations'], found, metric)
    matches = evaluation.image_diagnostics()
    images = _judge(truth, detections, matches)
    # hotcoco 1.3 takes detections that touch a crowd for badly localised; TIDE leaves crowds out.
    objects = [ann for ann in truth.coco.dataset['annotations'] if not ann['iscrowd']]
    counted = [ann for ann in found if ann['id'] in matches['dt_status']]
    evaluation = _evaluate(truth, objects, counted, metric)
    tide = evaluation.tide_errors()
    threshold = _best_threshold(images)
    confusion = evaluation.confusion_matrix(max_det=len(counted), min_score=threshold)['matrix']
    gains, counts = (
        {name: tide[part].get(key, 0) for key, name in ERRORS.items()}
        for part in ('delta_ap', 'counts')
    )
    return Diagnosis(images, tide['ap_base'], gains, counts, threshold, confusion.astype(int))


def _annotations(truth: GroundTruth, detections: Results, metric: str) -> list[dict]:
    """Detections in COCO's format, with their indices for ids."""
    key = 'bbox' if metric == 'bbox' else 'segmentation'
    columns = (
        truth.images[detections.image],
        truth.categories[detections.category],
        detections.score,
        detections.area,
    )
    rows = zip(*(column.tolist() for column in columns), detections.shapes, strict=True)
    return [
        {
            'id': number,
            'image_id': image,
            'category_id': category,
            'score': score,
            'area': area,
            'iscrowd': 0,
            key: shape if metric == 'segm' else shape.tolist(),
        }
        for number, (image, category, score, area, shape) in enumerate(rows)
    ]


def _evaluate(
    truth: GroundTruth, objects: list[dict], found: list[dict], metric: str
) -> hotcoco.COCOeval:
    sides = [dict(truth.coco.dataset, annotations=side) for side in (objects, found)]
    evaluation = hotcoco.COCOeval(*(hotcoco_index(side, metric) for side in sides), metric)
    evaluation.params.cat_ids = truth.categories.tolist()
    evaluation.evaluate()
    return evaluation


def _judge(truth: GroundTruth, detections: Results, matches: dict) -> list[JudgedImage]:
    status = matches['dt_status']
    wrong = np.array([status.get(index) == 'fp' for index in range(len(detections.score))], bool)
    order = np.lexsort((-detections.score, detections.image))
    starts = np.searchsorted(detections.image[order], np.arange(len(truth.images) + 1))
    categories = set(truth.categories.tolist())
    images = []
    for index, image_id in enumerate(truth.images.tolist()):
        mine = order[starts[index] : starts[index + 1]]
        shapes = detections.shapes
        objects = [
            annotation
            for annotation in truth.coco.imgToAnns[image_id]
            if annotation['category_id'] in categories and not annotation['iscrowd']
        ]
        found_by = [matches['gt_match'].get(annotation['id']) for annotation in objects]
        scores = [-np.inf if found is None else detections.score[found] for found in found_by]
        images.append(
            JudgedImage(
                image_id,
                truth.categories[detections.category[mine]],
                detections.score[mine],
                [shapes[row] for row in mine] if isinstance(shapes, list) else shapes[mine],
                wrong[mine],
                objects,
                np.array(scores, float),
            )
        )
    return images


def _best_threshold(images: Sequence[JudgedImage]) -> float:
    of_truth = np.concatenate([np.zeros(0), *(image.truth_scores for image in images)])
    found = of_truth[of_truth > -np.inf]
    wrong = np.concatenate([np.zeros(0), *(image.scores[image.wrong] for image in images)])
    scores = np.concatenate([found, wrong])
    order = np.argsort(-scores, kind='stable')
    correct = np.cumsum(order < len(found))
    f1 = 2 * correct / (np.arange(1, len(order) + 1) + len(of_truth))
    f1[:-1][np.diff(scores[order]) == 0] = 0  # a threshold takes all of equal scores
    return float(scores[order][f1.argmax()]) if len(f1) and f1.max() > 0 else 0.5
