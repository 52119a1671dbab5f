"""Detections are NumPy alone, for programs without torch."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from se_det.errors import UsageError
from se_det.inference.detections import Detections, class_indices

CLASSES = ('solid ring', 'striped ring', 'cross')


@given(
    objects=st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 2)), max_size=8),
    score=st.floats(0, 1, width=32),
    chosen=st.lists(st.sampled_from(CLASSES), max_size=3),
)
def test_some_of_the_objects(objects, score, chosen):
    objects = sorted(objects, reverse=True)
    scores = np.array([s for s, _ in objects], np.float32)
    labels = np.array([label for _, label in objects], np.int64)
    boxes = np.arange(4.0 * len(objects), dtype=np.float32).reshape(-1, 4)
    masks = np.arange(len(objects))[:, None, None] == np.arange(9).reshape(3, 3)
    found = Detections(boxes, scores, labels, CLASSES, masks)
    some = found.above(score).of(chosen)
    kept = [i for i, (s, label) in enumerate(objects) if s >= score and CLASSES[label] in chosen]
    np.testing.assert_array_equal(some.boxes, boxes[kept])
    np.testing.assert_array_equal(some.masks, masks[kept])
    assert some.names == [CLASSES[objects[i][1]] for i in kept]
    assert len(found.of(None)) == len(found)


@pytest.mark.parametrize(
    ('name', 'hint'),
    [('solid rings', "Did you mean 'solid ring'"), ('???', r"It has \['solid ring'")],
)
def test_an_unknown_class(name, hint):
    with pytest.raises(UsageError, match=hint):
        class_indices(['cross', name], CLASSES)


def test_neither_torch_nor_mmdet_is_imported():
    code = (
        'import sys; sys.modules["mmdet"] = None; import se_det.inference.detections;'
        'print({"torch", "mmengine"} & set(sys.modules))'
    )
    finished = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert finished.stdout.strip() == 'set()', finished.stderr
