"""Scenes repeat by seed, their masks are exact, and together they cover what COCO measures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from se_det.datasets import drawing
from se_det.datasets.drawing import CANVAS_SIZES, CATEGORIES, MIN_VISIBLE, SHAPES_A_SCENE

SMALL, LARGE = 32**2, 96**2  # pixels: limits of COCO's small and large areas


def draw_scene(seed):
    return drawing.draw_scene(np.random.default_rng(seed))


@given(st.integers(0, 2**32 - 1))
def test_a_scene(seed):
    """Masks show what is visible of their shapes, at least 80 %; no pixel shows two."""
    whole_masks, tried = [], []

    def inside(*args):
        tried.append(real_inside(*args))
        return tried[-1]

    def texture(*args):  # called once per shape, at its final place
        whole_masks.append(tried[-1])
        return real_texture(*args)

    real_inside, real_texture = drawing._inside, drawing._texture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, '_inside', inside)
        patch.setattr(drawing, '_texture', texture)
        image, instances = draw_scene(seed)
    assert image.dtype == np.uint8
    assert image.shape in [(height, width, 3) for height, width in CANVAS_SIZES]
    for instance, whole in zip(instances, whole_masks, strict=True):
        assert instance.mask.dtype == bool and instance.mask.shape == image.shape[:2]
        assert not (instance.mask & ~whole).any()
        assert instance.mask.sum() >= MIN_VISIBLE * whole.sum() > 0
        if CATEGORIES[instance.category].startswith('solid'):
            assert image[instance.mask].std(axis=0).max() < 12  # noise only
    assert sum(instance.mask.astype(int) for instance in instances).max() == 1


def test_many_scenes():
    """Equal for equal seeds alone, with all that a scene may have."""
    scenes = [draw_scene(seed) for seed in range(100)]
    assert len({image.tobytes() for image, _ in scenes}) == len(scenes)
    for seed, (image, instances) in enumerate(scenes[:5]):
        again, instances_again = draw_scene(seed)
        np.testing.assert_array_equal(again, image)
        for instance, other in zip(instances, instances_again, strict=True):
            assert other.category == instance.category
            np.testing.assert_array_equal(other.mask, instance.mask)
    fewest, most = SHAPES_A_SCENE
    assert {len(instances) for _, instances in scenes} == set(range(fewest, most + 1))
    found = [instance for _, instances in scenes for instance in instances]
    assert {instance.category for instance in found} == set(range(12))
    assert len(set(CATEGORIES)) == 12
    areas = np.array([instance.mask.sum() for instance in found])
    assert (areas < SMALL).any()
    assert ((areas >= SMALL) & (areas < LARGE)).any()
    assert (areas >= LARGE).any()
