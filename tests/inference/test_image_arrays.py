"""Images are read and resized as MMDetection does, with OpenCV and without."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmcv.image import imrescale, imresize
from PIL import Image

from se_det import image_files
from se_det.errors import UsageError
from se_det.inference import image_arrays as images

edges = st.integers(1, 120)


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@given(edges, edges, edges, edges)
def test_numpy_resizes_as_opencv_does(height, width, new_height, new_width):
    image = noise(height, width)
    found = images.resize_bilinearly(image, (new_width, new_height))
    assert np.array_equal(found, cv2.resize(image, (new_width, new_height)))


@given(edges, edges, st.tuples(edges, edges), st.booleans())
def test_the_size_is_that_of_mmcv(height, width, scale, keep_ratio):
    image = noise(height, width)
    try:
        expected = imrescale(image, scale) if keep_ratio else imresize(image, scale)
    except cv2.error:  # an edge of 0
        return
    assert np.array_equal(images.resize(image, list(scale), keep_ratio), expected)


@pytest.fixture(params=['opencv', 'pillow'])
def read(request, monkeypatch):
    """Read an image file with one of the two."""
    if request.param == 'pillow':
        monkeypatch.setattr(image_files, 'cv2', None)
    return image_files.read_image


@pytest.mark.parametrize('ending', ['png', 'jpg'])
def test_files_are_read_as_opencv_does(ending, read, tmp_path):
    """Also one that is to be turned, and one that lacks only its end."""
    path = tmp_path / f'ü.{ending}'
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(cv2.resize(noise(8, 9), (90, 60))).save(path, exif=rotated)
    expected = cv2.imread(str(path))
    allowed = 2 if ending == 'jpg' else 0
    assert expected.shape == (90, 60, 3)
    assert np.abs(expected.astype(int) - read(path)).max() <= allowed
    path.write_bytes(path.read_bytes()[:-2])
    assert np.abs(expected.astype(int) - read(str(path))).max() <= allowed
    assert read(path, gray=True).shape == (90, 60)


@pytest.mark.parametrize(
    ('cut', 'reason'),
    [
        (lambda whole: None, 'cannot be read: No such file'),
        (lambda whole: b'', 'is an empty file'),
        (lambda whole: b'no image', 'is not an image'),
        (lambda whole: whole[: len(whole) * 2 // 3], r'is cut off: \d+% of the picture'),
    ],
)
def test_what_is_no_image_is_named(cut, reason, read, tmp_path):
    path = tmp_path / 'image.jpg'
    if (content := cut(cv2.imencode('.jpg', noise(64, 64))[1].tobytes())) is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=rf'image\.jpg {reason}'):
        read(path)
