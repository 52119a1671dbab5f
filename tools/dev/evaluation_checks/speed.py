"""Time and memory of the comparison on made-up results, beside pycocotools and hotcoco."""

import contextlib
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import hotcoco
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from se_det.evaluation.comparison import compare_runs

HEIGHT, WIDTH = 480, 640


@dataclass(frozen=True)
class Cost:
    """What one computation took.

    Attributes:
        what: in words.
        seconds: wall time, files read included.
        gigabytes: the most memory that its process held, and those that it started.
    """

    what: str
    seconds: float
    gigabytes: float


def write_made_up(
    folder: str | Path, images: int = 5000, categories: int = 80, detections: int = 100
) -> tuple[Path, Path, Path]:
    """Write annotations and the results of two detectors, by default of val2017's size.

    Args:
        folder: where to.
        images: how many.
        categories: how many, some far more frequent than others.
        detections: of each image: most of its objects, and false positives.

    Returns:
        The paths of the annotations and of both results.
    """
    rng = np.random.default_rng(0)
    folder = Path(folder)
    image = np.repeat(np.arange(images), rng.poisson(7.3, size=images))
    frequency = rng.dirichlet(np.full(categories, 0.5))
    present = rng.choice(categories, size=(images, 3), p=frequency)
    category = present[image, rng.integers(3, size=len(image))]
    boxes = _boxes(rng, len(image))
    areas = boxes[:, 2] * boxes[:, 3] * rng.uniform(0.5, 1, size=len(image))
    crowds = (rng.random(len(image)) < 0.01).astype(int)
    columns = (image, category, boxes, areas, crowds)
    annotations = [
        dict(id=n, image_id=i, category_id=k, bbox=box, area=area, iscrowd=crowd)
        for n, (i, k, box, area, crowd) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]
    truth = dict(
        images=[dict(id=i, height=HEIGHT, width=WIDTH) for i in range(images)],
        categories=[dict(id=k, name=f'class {k}') for k in range(categories)],
        annotations=annotations,
    )
    paths = [folder / name for name in ('truth.json', 'baseline.bbox.json', 'candidate.bbox.json')]
    paths[0].write_text(json.dumps(truth))
    for path, noise in zip(paths[1:], (0.08, 0.075), strict=True):
        found = np.flatnonzero(rng.random(len(image)) < 0.85)
        wrong_image = np.repeat(
            np.arange(images),
            (detections - np.bincount(image[found], minlength=images)).clip(min=0),
        )
        count = len(wrong_image)
        wrong_category = np.where(
            rng.random(count) < 0.5,
            present[wrong_image, rng.integers(3, size=count)],
            rng.integers(categories, size=count),
        )
        near = boxes[found] + rng.normal(size=(len(found), 4)) * noise * boxes[found][:, [2, 3] * 2]
        near[:, 2:] = near[:, 2:].clip(min=1)
        columns = (
            np.concatenate([image[found], wrong_image]),
            np.concatenate([category[found], wrong_category]),
            np.concatenate([near, _boxes(rng, count)]).astype(np.float32),
            np.concatenate([rng.beta(4, 2, size=len(found)), rng.beta(1.2, 6, size=count)]),
        )
        results = [
            dict(image_id=i, category_id=k, bbox=box, score=score)
            for i, k, box, score in zip(*(column.tolist() for column in columns), strict=True)
        ]
        path.write_text(json.dumps(results))
    return tuple(paths)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes [x, y, width, height] of all sizes, (count, 4)."""
    sides = np.exp(rng.normal(4, 0.9, size=(count, 2))).clip(4, 400)
    corners = rng.uniform(size=(count, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
    return np.concatenate([corners, sides], axis=1)


def costs(
    truth: Path, baseline: Path, candidate: Path, *, resamples: int = 1000, workers: int = 2
) -> Iterator[Cost]:
    """Measure our comparison, evaluations by pycocotools and hotcoco, and hotcoco's comparison.

    Args:
        truth: the annotations.
        baseline: results of one side.
        candidate: results of the other.
        resamples: draws of images, of ours and of hotcoco's.
        workers: our processes.

    Yields:
        Each cost as soon as it is measured.
    """
    sides = [baseline, candidate]
    yield _cost(
        f'compare_runs: both sides, {resamples} resamples, {workers} processes',
        lambda: compare_runs(*[[s] for s in sides], truth, resamples=resamples, workers=workers),
        workers,
    )
    yield _cost('pycocotools: one side', lambda: _pycocotools(truth, baseline))
    yield _cost('hotcoco: one side', lambda: _hotcoco(truth, sides[:1]))
    what = f'hotcoco.compare: both sides, {resamples} resamples'
    yield _cost(what, lambda: _hotcoco(truth, sides, resamples))


def _pycocotools(truth: Path, results: Path) -> None:
    coco = COCO(str(truth))
    evaluation = COCOeval(coco, coco.loadRes(str(results)), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()


def _hotcoco(truth: Path, sides: list[Path], resamples: int = 0) -> None:
    coco = hotcoco.COCO(str(truth))
    evaluations = [hotcoco.COCOeval(coco, coco.loadRes(str(side)), 'bbox') for side in sides]
    for evaluation in evaluations:
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    if resamples:
        hotcoco.compare(*evaluations, n_bootstrap=resamples)


def _cost(what: str, compute: Callable[[], object], workers: int = 0) -> Cost:
    """Run in a process of its own, so that its memory is its own."""
    context = get_context('fork')
    receiver, sender = context.Pipe(duplex=False)

    def measure() -> None:
        with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
            start = time.perf_counter()
            compute()
            seconds = time.perf_counter() - start
        own, children = (
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        sender.send((seconds, (own + workers * children) * 1024 / 1e9))

    process = context.Process(target=measure)
    process.start()
    seconds, gigabytes = receiver.recv()
    process.join()
    return Cost(what, seconds, gigabytes)
