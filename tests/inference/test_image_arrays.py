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


@pytest.mark.parametrize('ending', ['png', 'jpg'])
def test_pillow_reads_as_opencv_does(ending, tmp_path, monkeypatch):
    path = tmp_path / f'ü.{ending}'
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(cv2.resize(noise(8, 9), (90, 60))).save(path, exif=rotated)
    by_opencv = image_files.read_image(path)
    monkeypatch.setattr(image_files, 'cv2', None)
    by_pillow = image_files.read_image(str(path))
    assert by_opencv.shape == (90, 60, 3)
    assert np.abs(by_opencv.astype(int) - by_pillow).max() <= (2 if ending == 'jpg' else 0)


@pytest.mark.parametrize('has_opencv', [True, False])
@pytest.mark.parametrize('content', [None, b'', b'no image'])
def test_what_is_no_image_is_named(content, has_opencv, tmp_path, monkeypatch):
    if not has_opencv:
        monkeypatch.setattr(image_files, 'cv2', None)
    path = tmp_path / 'image.png'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r'image\.png'):
        image_files.read_image(path)


@pytest.mark.parametrize('has_opencv', [True, False])
def test_a_jpeg_that_lacks_its_end(has_opencv, tmp_path, monkeypatch):
    """It is read as in training if its pixels are there."""
    if not has_opencv:
        monkeypatch.setattr(image_files, 'cv2', None)
    whole, path = tmp_path / 'whole.jpg', tmp_path / 'cut.jpg'
    cv2.imwrite(str(whole), noise(64, 64))
    content = whole.read_bytes()
    path.write_bytes(content[:-2])
    assert np.array_equal(image_files.read_image(path), image_files.read_image(whole))
    assert image_files.read_image(path, gray=True).shape == (64, 64)
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(UsageError, match=r'cut\.jpg is cut off: \d+% of the picture'):
        image_files.read_image(path)
