"""Scenes repeat by seed, their masks are exact, and together they cover what COCO measures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se_det.datasets import drawing
from se_det.datasets.drawing import CANVAS_SIZES, CATEGORIES, MIN_VISIBLE, SHAPES_A_SCENE

SMALL, LARGE = 32**2, 96**2  # pixels: limits of COCO's small and large areas
seeds = st.integers(0, 2**32 - 1)
any_scene = settings(deadline=None, max_examples=50)


def draw_scene(seed):
    return drawing.draw_scene(np.random.default_rng(seed))


@pytest.fixture(scope='module')
def many_scenes():
    return [draw_scene(seed) for seed in range(200)]


@any_scene
@given(seeds)
def test_equal_seeds_draw_equal_scenes(seed):
    (image, instances), (image_again, instances_again) = draw_scene(seed), draw_scene(seed)
    np.testing.assert_array_equal(image_again, image)
    for instance, again in zip(instances, instances_again, strict=True):
        assert again.category == instance.category
        np.testing.assert_array_equal(again.mask, instance.mask)


def test_different_seeds_draw_different_scenes(many_scenes):
    assert len({image.tobytes() for image, _ in many_scenes}) == len(many_scenes)


@any_scene
@given(seeds)
def test_an_image_is_a_canvas_of_bytes(seed):
    image, _ = draw_scene(seed)
    assert image.dtype == np.uint8
    assert image.shape in [(height, width, 3) for height, width in CANVAS_SIZES]


@any_scene
@given(seeds)
def test_masks_are_of_the_images_size_and_show_something(seed):
    image, instances = draw_scene(seed)
    for instance in instances:
        assert instance.mask.dtype == bool
        assert instance.mask.shape == image.shape[:2]
        assert instance.mask.any()


@any_scene
@given(seeds)
def test_no_pixel_shows_two_shapes(seed):
    _, instances = draw_scene(seed)
    assert sum(instance.mask.astype(int) for instance in instances).max() == 1


@any_scene
@given(seeds)
def test_at_least_80_percent_of_every_shape_is_visible(seed):
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
        _, instances = draw_scene(seed)
    for instance, whole in zip(instances, whole_masks, strict=True):
        assert not (instance.mask & ~whole).any()
        assert instance.mask.sum() >= MIN_VISIBLE * whole.sum()


@any_scene
@given(seeds)
def test_the_pixels_of_a_solid_shape_have_one_colour(seed):
    image, instances = draw_scene(seed)
    for instance in instances:
        if CATEGORIES[instance.category].startswith('solid'):
            assert image[instance.mask].std(axis=0).max() < 12  # noise only


def test_scenes_have_every_allowed_number_of_shapes(many_scenes):
    fewest, most = SHAPES_A_SCENE
    assert {len(instances) for _, instances in many_scenes} == set(range(fewest, most + 1))


def test_there_are_twelve_categories_and_all_occur(many_scenes):
    found = {instance.category for _, instances in many_scenes for instance in instances}
    assert found == set(range(len(CATEGORIES)))
    assert len(set(CATEGORIES)) == 12


def test_cocos_small_medium_and_large_areas_occur(many_scenes):
    areas = np.array([i.mask.sum() for _, instances in many_scenes for i in instances])
    assert (areas < SMALL).any()
    assert ((areas >= SMALL) & (areas < LARGE)).any()
    assert (areas >= LARGE).any()
