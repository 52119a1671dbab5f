import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se_det.evaluation.accumulation import (
    class_mean,
    precision_and_recall,
    resampled_metrics,
    summaries,
)
from se_det.evaluation.detections import read_detections
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.matching import match
from se_det.evaluation.resampling import draw_images

from .conftest import draw, judge, resample


def ours(folder, annotations, results, metric):
    import json

    (folder / 'gt.json').write_text(json.dumps(annotations))
    (folder / 'dt.json').write_text(json.dumps(results))
    truth = GroundTruth.read(folder / 'gt.json')
    return match(read_detections(folder / 'dt.json', truth, metric), truth, metric), truth


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([None, 3, 10]))
def test_point_values_are_those_of_pycocotools(tmp_path_factory, metric, seed, levels):
    rng = np.random.default_rng(seed)
    annotations, results = draw(rng, levels=levels, segm=metric == 'segm')
    expected = judge(annotations, results, metric)
    matches, truth = ours(tmp_path_factory.mktemp('points'), annotations, results, metric)
    precision, recall = precision_and_recall(matches, truth)
    np.testing.assert_array_equal(precision, expected.eval['precision'][..., -1])
    np.testing.assert_array_equal(recall, expected.eval['recall'])
    np.testing.assert_array_equal(summaries(matches, truth)[0], expected.stats)


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([None, 3, 10]))
def test_resamples_are_pycocotools_on_the_drawn_images(tmp_path_factory, metric, seed, levels):
    rng = np.random.default_rng(seed)
    annotations, results = draw(rng, levels=levels, segm=metric == 'segm')
    matches, truth = ours(tmp_path_factory.mktemp('resamples'), annotations, results, metric)
    weights = draw_images(len(truth.images), 5, seed)
    means = class_mean(resampled_metrics(matches, truth, weights))
    for resampled, drawn in zip(means.T, weights.T, strict=True):
        expected = judge(*resample(annotations, results, drawn), metric).stats
        np.testing.assert_allclose(np.nan_to_num(resampled, nan=-1), expected, rtol=0, atol=1e-12)
