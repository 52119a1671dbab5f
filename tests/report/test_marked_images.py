"""Pictures of the report: boxes and labels are where they belong."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from se_det.report.diagnosis import diagnose
from se_det.report.marked_images import (
    LETTER,
    LINE_HEIGHT,
    MARGIN,
    WIDTH,
    Mark,
    detection_marks,
    picture,
    spread,
    truth_marks,
)

from .conftest import make_random, make_results, make_truth

BOX, AWAY = (10, 10, 20, 20), (70, 70, 20, 20)


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp('photo') / 'a.png'
    cv2.imwrite(str(path), np.zeros((60, 120, 3), np.uint8))
    return str(path)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4, st.integers(1, 30)), min_size=1, max_size=12))
def test_labels_stay_on_the_page(photo, boxes):
    marks = [
        Mark((x * 110, y * 50, 1 + w * (119 - x * 110), 1 + h * (59 - y * 50)), 'x' * n, 'correct')
        for x, y, w, h, n in boxes
    ]
    laid = picture(photo, 'a', {'all': marks}).panels['all']
    assert len(laid) == len(marks)
    for mark in laid:
        x, y = mark.at
        length = LETTER * len(mark.label)
        left = x - length if mark.anchor == 'end' else x
        assert -1e-9 <= left <= WIDTH - length + 1e-9
        assert -MARGIN <= y <= WIDTH / 2 + MARGIN - LINE_HEIGHT


def test_a_label_is_outside_of_its_box_and_of_others(photo):
    marks = [Mark((40, 30, 30, 20), 'one', 'correct'), Mark((41, 29, 30, 20), 'two', 'wrong')]
    laid = picture(photo, 'a', {'all': marks}).panels['all']
    (first, second) = laid
    for mark in laid:
        top, bottom = mark.box[1], mark.box[1] + mark.box[3]
        assert mark.at[1] + LINE_HEIGHT <= top or mark.at[1] >= bottom
    apart = abs(first.at[1] - second.at[1]) >= LINE_HEIGHT
    assert apart or abs(first.at[0] - second.at[0]) >= 2 * 3 * LETTER


def test_boxes_scale_with_the_picture(photo):
    drawn = picture(photo, 'a', {'all': [Mark((12, 6, 60, 30), 'x', 'correct')]})
    assert drawn.panels['all'][0].box == (96, 48, 480, 240)
    assert drawn.height == WIDTH / 2
    assert drawn.photo.startswith('data:image/jpeg;base64,')


def test_marks_say_what_each_detection_is():
    truth = make_truth([(1, 1, BOX), (1, 2, AWAY)])
    results = make_results(truth, [(1, 1, BOX, 0.9), (1, 3, AWAY, 0.8), (1, 3, BOX, 0.1)])
    (image,) = diagnose(truth, results, 'bbox').images
    names = {1: 'ring', 2: 'cross', 3: 'square'}
    assert [(m.label, m.kind) for m in truth_marks(image, names, 0.5)] == [
        ('ring', 'found'),
        ('cross', 'missed'),
    ]
    assert [(m.label, m.kind) for m in detection_marks(image, names, 0.5)] == [
        ('ring 0.90', 'correct'),
        ('square 0.80', 'wrong'),
    ]


def test_the_outline_of_a_mask_bounds_it():
    truth = make_truth([(1, 1, (30, 20, 30, 20))])
    found = make_results(truth, [(1, 1, (30, 20, 30, 20), 0.9)], 'segm')
    (image,) = diagnose(truth, found, 'segm').images
    (mark,) = detection_marks(image, {1: 'ring'}, 0.5)
    assert mark.kind == 'correct' and mark.box == (30, 20, 30, 20)
    corners = {tuple(map(int, corner.split())) for corner in mark.outline[1:-1].split('L')}
    assert corners == {(30, 20), (30, 39), (59, 39), (59, 20)}


def test_spread_is_from_worst_to_best():
    truth, results = make_random(4)
    images = diagnose(truth, results, 'bbox').images
    chosen = [image.f1(0.5) for image in spread(images, 5, 0.5)]
    every = sorted(image.f1(0.5) for image in images)
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (every[0], every[-1])
    assert len(spread(images[:2], 5, 0.5)) == 2
