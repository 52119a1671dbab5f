"""Drawn detections."""

import numpy as np

from se_det.inference.detections import Detections
from se_det.inference.picture_files import colour, draw


def found(masks=None):
    boxes = np.array([[4, 20, 40, 60], [-5, 70, 500, 90]], np.float32)
    scores, labels = np.array([0.9, 0.5], np.float32), np.array([1, 0])
    return Detections(boxes, scores, labels, ('größe', 'b'), masks)


def test_boxes_are_drawn_in_the_colours_of_their_classes():
    image = np.full((100, 120, 3), 128, np.uint8)
    picture = draw(image, found())
    assert (image == 128).all() and picture.shape == image.shape
    assert tuple(picture[40, 4, ::-1]) == colour(1)
    assert tuple(picture[90, 110, ::-1]) == colour(0)  # across the image's borders
    assert (picture[5] == 128).all()
    assert colour(0) != colour(1) == colour(1)


def test_masks_are_blended():
    image = np.full((100, 120, 3), 128, np.uint8)
    masks = np.zeros((2, 100, 120), bool)
    masks[0, 40:50, 60:70] = True
    changed = (draw(image, found(masks)) != draw(image, found())).any(2)
    np.testing.assert_array_equal(changed, masks[0])


def test_nothing_found():
    image = np.zeros((10, 10, 3), np.uint8)
    np.testing.assert_array_equal(draw(image, found()[:0]), image)
    np.testing.assert_array_equal(draw(image, found(np.zeros((2, 10, 10), bool))[:0]), image)
