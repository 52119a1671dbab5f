"""What trains, predicts: images of one channel and of 16 bits; one bad image ends nothing."""

import json
from functools import cache

import cv2
import numpy as np
import pytest

import se_det
from se_det.errors import UsageError
from se_det.image_files import read_image
from se_det.inference.export import export_onnx
from se_det.inference.export.image_facts import preprocessing
from se_det.inference.prediction import predict

from .conftest import save_random, small_config


@pytest.fixture(scope='module')
def make(tiny, tmp_path_factory):
    """A detector that reads files in one way, with one channel or three."""

    @cache
    def made(color_type, channels):
        cfg = small_config('faster_rcnn_se_r50', tiny)
        cfg.model.backbone.in_channels = channels
        for name in ('mean', 'std'):
            cfg.model.data_preprocessor[name] = [100.0] * channels
        cfg.model.data_preprocessor.bgr_to_rgb = channels == 3
        cfg.test_dataloader.dataset.pipeline[0]['color_type'] = color_type
        path = tmp_path_factory.mktemp('gray') / 'detector.pth'
        return cfg, str(save_random(cfg, path))

    return made


@pytest.fixture
def images(tmp_path, pixels):
    """8-bit colour, 8-bit gray and 16-bit gray."""
    folder = tmp_path / 'images'
    folder.mkdir()
    colour = pixels(64, 96)
    gray = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(folder / 'colour.png'), colour)
    cv2.imwrite(str(folder / 'gray.jpg'), gray)
    cv2.imwrite(str(folder / 'deep.tiff'), gray.astype(np.uint16) * 256)
    return folder


def test_one_channel(make, images, tmp_path, capsys):
    cfg, checkpoint = make('grayscale', 1)
    (images / 'notes.txt').write_text('of the dataset')
    (images / 'gray.jpg').rename(images / 'by_its_content.data')
    cv2.imwrite(str(images / 'thin.png'), np.zeros((1, 4000), np.uint8))
    done = predict(cfg, checkpoint, [str(images)], out=tmp_path / 'out', score=0.0, device='cpu')
    assert (done.images, done.unreadable) == (3, 1) and done.detections > 0
    assert len([*(tmp_path / 'out' / 'pictures').iterdir()]) == 3
    error = ' '.join(capsys.readouterr().err.split())
    assert 'Left out, as neither images nor videos: 1 of 5 files' in error and 'notes.txt' in error
    assert 'thin.png: An array (1, 4000) of uint8 does not pass the test pipeline' in error
    detector = se_det.Detector(checkpoint, cfg, device='cpu')
    for name in ('colour.png', 'by_its_content.data'):
        array = cv2.imread(str(images / name), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(detector(images / name).boxes, detector(array).boxes)
        np.testing.assert_array_equal(read_image(images / name, gray=True), array)
    with pytest.raises(UsageError, match=r'images \(H, W\) of gray values.*array \(64, 96, 3\)'):
        detector(cv2.imread(str(images / 'colour.png')))
    assert preprocessing(cfg, detector.model)['gray']


def test_16_bits_and_an_image_that_fails(make, images, tmp_path, capsys):
    cfg, checkpoint = make('unchanged', 1)
    done = predict(cfg, checkpoint, [str(images)], out=tmp_path / 'out', score=0.0, device='cpu')
    assert (done.images, done.unreadable) == (2, 1)
    assert 'colour.png: The detector takes images of 1 channels' in capsys.readouterr().err
    names = [
        image['file_name']
        for image in json.loads((tmp_path / 'out/images.json').read_text())['images']
    ]
    assert names == ['deep.tiff', 'gray.jpg']
    detector = se_det.Detector(checkpoint, cfg, device='cpu')
    deep = cv2.imread(str(images / 'deep.tiff'), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(detector(images / 'deep.tiff').boxes, detector(deep).boxes)
    with pytest.raises(UsageError, match='of int64'):
        detector(deep.astype(np.int64))
    with pytest.raises(UsageError, match="found color_type='unchanged'"):
        preprocessing(cfg, detector.model)


@pytest.mark.long
def test_an_exported_detector_of_one_channel(make, images, tmp_path):
    pytest.importorskip('onnxruntime')
    cfg, checkpoint = make('grayscale', 1)
    export_onnx(cfg, checkpoint, tmp_path / 'gray.onnx')
    exported = se_det.OnnxDetector(tmp_path / 'gray.onnx')
    detector = se_det.Detector(checkpoint, cfg, device='cpu')
    array = cv2.imread(str(images / 'gray.jpg'), cv2.IMREAD_GRAYSCALE)
    for image in (images / 'colour.png', array):
        found, expected = exported(image), detector(image)
        np.testing.assert_allclose(found.scores[:20], expected.scores[:20], atol=1e-4)
        np.testing.assert_allclose(found.boxes[:20], expected.boxes[:20], atol=0.05)
