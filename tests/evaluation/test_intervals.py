import numpy as np
import pytest
from scipy.stats import ttest_ind

from se_det.evaluation.planning import pilot_of, power_of
from se_det.evaluation.resampling import draw_images, interval
from tools.evaluation_checks.simulation import Arms, Images, detect, resampled_ap
from tools.evaluation_checks.trials import coverage, draw_pilot, observed_power, pooled


def test_each_resample_draws_as_many_images_as_there_are():
    weights = draw_images(50, 400, 3)
    assert (weights.sum(0) == 50).all()
    # Binomial: mean 1, variance 1 - 1/50, and 63.6 % of the images are in a resample.
    assert weights.var() == pytest.approx(0.98, abs=0.03)
    assert (weights > 0).mean() == pytest.approx(1 - (1 - 1 / 50) ** 50, abs=0.01)
    np.testing.assert_array_equal(weights, draw_images(50, 400, 3))


def test_one_seed_gives_percentiles_of_the_resamples():
    resampled = np.random.default_rng(0).normal(size=1000)
    low, high = interval(resampled, np.array([0.3]), np.array([0.4]))
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))


def test_without_spread_between_images_seeds_give_the_t_interval():
    rng = np.random.default_rng(0)
    baseline, candidate = rng.normal(size=(2, 4))
    expected = ttest_ind(candidate, baseline).confidence_interval(0.95)
    difference = candidate.mean() - baseline.mean()
    found = interval(np.full(100, difference), baseline, candidate)
    np.testing.assert_allclose(found, [expected.low, expected.high], rtol=1e-9)


def test_three_seeds_that_spread_by_half_a_point_leave_more_than_one():
    low, high = interval(np.zeros(10), *[np.array([-0.5, 0, 0.5])] * 2)
    assert (low, high) == pytest.approx((-1.13, 1.13), abs=0.01)


def test_images_and_seeds_add_up():
    """Normal and Student's: percentiles of draws of the sum."""
    rng = np.random.default_rng(0)
    resampled = rng.normal(size=2000)
    baseline, candidate = rng.normal(size=(2, 3))
    error = np.sqrt((baseline.var(ddof=1) + candidate.var(ddof=1)) / 3)
    drawn = rng.choice(resampled, 400_000) + rng.standard_t(4, size=400_000) * error
    expected = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose(interval(resampled, baseline, candidate), expected, rtol=0.02)


def test_drawing_each_image_once_makes_intervals_too_narrow():
    """1 - 0.632 of the images are left out: the spread is 0.76 of what it should be."""
    rng = np.random.default_rng(0)
    images = Images.draw(rng, 150)
    weights = draw_images(150, 400, 0)
    found = [detect(rng, images, quality) for quality in (1.0, 1.1)]
    baseline, candidate = (resampled_ap(matches, images, weights) for matches in found)
    once = [resampled_ap(matches, images, np.minimum(weights, 1)) for matches in found]
    assert np.std(once[1] - once[0]) / np.std(candidate - baseline) == pytest.approx(0.76, abs=0.1)


def test_a_pilot_splits_the_variance():
    """AP as a sum of what images do to both sides, to one run, and of the seed."""
    rng = np.random.default_rng(0)
    seeds, resamples = 400, 500
    shared = rng.normal(size=resamples) * 3
    points = rng.normal(size=(2, seeds)) * np.sqrt(4 + 0.5)
    own = rng.normal(size=(2, seeds, resamples)) * np.sqrt(0.5)
    resampled = points[..., None] + own
    resampled[1] += shared
    pilot = pilot_of(points, resampled, 100)
    assert pilot.image_variance == pytest.approx(9, rel=0.15)
    assert pilot.mixed_variance == pytest.approx(1, rel=0.05)
    assert pilot.seed_variance == pytest.approx(4, rel=0.15)
    assert pilot.assumed == ()
    one = pilot_of(points[:, :1], resampled[:, :1], 100, seed_spread=2)
    assert one.image_variance == pytest.approx(10, rel=0.15)
    assert one.seed_variance == 4
    assert len(one.assumed) == 2


def test_power_grows_with_difference_seeds_and_images():
    rng = np.random.default_rng(0)
    pilot = pilot_of(
        [np.array([0.40, 0.41, 0.42])] * 2, rng.normal(size=(2, 3, 200)) * 0.01 + 0.4, 100
    )
    few = power_of(rng, pilot, 0.01, 3, 100)
    assert few < power_of(rng, pilot, 0.03, 3, 100) < power_of(rng, pilot, 0.03, 8, 400)
    assert power_of(rng, pilot, 1e-9, 3, 100) < 0.06  # two-sided 5 %: above zero by chance


@pytest.mark.long
def test_intervals_hold_the_true_difference():
    found = coverage(Arms(), trials=500, images=100)
    assert 0.93 <= found['ours'] <= 0.97
    assert found['each image once'] < 0.90


@pytest.mark.long
def test_intervals_over_seeds_hold_the_true_difference():
    found = coverage(Arms(spread=0.05), trials=200, images=100, seeds=3, resamples=400)
    assert 0.92 <= found['ours'] <= 0.99
    assert found['images only'] < found['ours'] - 0.1


@pytest.mark.long
def test_planned_power_is_seen():
    arms = Arms(gain=0.15, spread=0.05)
    rng = np.random.default_rng(0)
    pilots = [draw_pilot(arms, rng, images=150, seeds=5) for _ in range(8)]
    truth = arms.true_difference()
    planned = power_of(rng, pooled(pilots), truth, 3, 200)
    assert planned == pytest.approx(
        observed_power(arms, experiments=150, images=200, seeds=3), abs=0.12
    )
