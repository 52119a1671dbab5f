"""An exported file computes what mmdet does, in onnxruntime, with any batch and size."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import Compose, pseudo_collate

import se_det
from se_det.errors import UsageError
from se_det.inference.export import export_onnx

onnxruntime = pytest.importorskip('onnxruntime', reason="pip install 'se_det[onnx]'")
pytest.importorskip('onnxscript', reason="pip install 'se_det[onnx]'")

CLASSES = ('bolt', 'nut', 'washer')
CHECKOUT = Path(__file__).parents[3]
# An export takes half a minute: one is quick, and has all parts but cascades and RetinaNet's head.
families = pytest.mark.parametrize(
    'cfg',
    [
        'mask_rcnn_se_r50',
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ('faster_rcnn_se_r50', 'cascade_rcnn_se_r50', 'retinanet_se_r50')
        ),
    ],
    indirect=True,
    scope='session',
)


@pytest.fixture(scope='session')
def checkpoint(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'detector.pth'
    torch.save(dict(state_dict=detector.state_dict(), meta={}), path)
    return str(path)


@pytest.fixture(scope='session')
def exported(cfg, detector, checkpoint, tmp_path_factory):
    """The file, and what `export_onnx` says. onnxscript's optimizer takes a third of the time."""
    path = tmp_path_factory.mktemp('exported') / 'detector.onnx'
    with pytest.MonkeyPatch.context() as patch:
        if detector.with_mask:  # the quick one
            patch.setattr(torch.onnx, 'export', partial(torch.onnx.export, optimize=False))
        return path, export_onnx(cfg, checkpoint, path)


@pytest.fixture(scope='session')
def pictures():
    """Images with edges of their own, (H, W, 3) uint8."""
    noise = np.random.default_rng(0)
    sizes = [(90, 120), (120, 90), (100, 128), (64, 200)]
    small = [noise.integers(0, 256, (9, 12, 3), np.uint8) for _ in sizes]
    return [cv2.resize(image, size[::-1]) for image, size in zip(small, sizes, strict=True)]


@families
def test_batches_and_sizes_of_any_kind_are_predicted_as_mmdet_does(
    exported, detector, predict, make_batch
):
    session = onnxruntime.InferenceSession(exported[0])
    for sizes in ([(96, 128), (120, 90)], [(64, 100)], [(200, 50)] * 3):
        images, sizes = make_batch(*sizes)
        inputs = dict(images=images.numpy(), sizes=sizes.numpy())
        boxes, scores, labels = session.run(['boxes', 'scores', 'labels'], inputs)
        for index, expected in enumerate(predict(detector, images, sizes)):
            count = len(expected)
            assert count > 3 and (labels[index, count:] == -1).all()
            assert np.array_equal(labels[index, :count], expected.labels)
            assert np.abs(scores[index, :count] - expected.scores.numpy()).max() < 1e-4
            assert np.abs(boxes[index, :count] - expected.bboxes.numpy()).max() < 0.05


@families
def test_onnx_detector_finds_what_mmdet_does(exported, detector, cfg, pictures):
    found = se_det.OnnxDetector(exported[0])(pictures, batch=2)
    steps = [step for step in get_test_pipeline_cfg(cfg) if step.type != 'LoadAnnotations']
    load = Compose([dict(type='mmdet.LoadImageFromNDArray'), *steps[1:]])
    for picture, ours in zip(pictures, found, strict=True):
        data = pseudo_collate([load(dict(img=picture, img_id=0))])
        with torch.no_grad():
            theirs = detector.test_step(data)[0].pred_instances
        assert ours.classes == CLASSES and len(ours) == len(theirs) > 3
        assert np.array_equal(ours.labels, theirs.labels)
        assert np.abs(ours.scores - theirs.scores.numpy()).max() < 1e-4
        assert np.abs(ours.boxes - theirs.bboxes.numpy()).max() < 0.05
        assert (ours.boxes.dtype, ours.scores.dtype, ours.labels.dtype) == (
            np.float32,
            np.float32,
            np.int64,
        )
        if 'masks' in theirs:
            assert ours.masks.shape == (len(ours), *picture.shape[:2])
            assert (ours.masks != theirs.masks.numpy()).mean() < 1e-3
        else:
            assert ours.masks is None


@families
def test_the_file_says_what_to_do_to_images(exported, detector):
    path, message = exported
    assert str(path) in message and '3 classes' in message
    session = onnxruntime.InferenceSession(path)
    found = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert found['se_det'] == 'detector' and found['classes'] == list(CLASSES)
    assert found['scale'] == [160, 128] and found['keep_ratio'] is True
    assert found['bgr_to_rgb'] is True and found['pad_size_divisor'] == 32
    assert np.allclose(found['mean'], [123.675, 116.28, 103.53])
    assert np.allclose(found['std'], [58.395, 57.12, 57.375])
    assert found.get('mask_threshold') == (0.5 if detector.with_mask else None)
    images, sizes = session.get_inputs()
    assert images.shape == ['batch', 3, 'height', 'width'] and sizes.shape == ['batch', 2]


@pytest.mark.parametrize('cfg', ['mask_rcnn_se_r50'], indirect=True, scope='session')
def test_files_and_arguments_are_checked(exported, pictures, tmp_path):
    detect = se_det.OnnxDetector(str(exported[0]))
    alone = detect(pictures[0])
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), pictures[0])
    again = detect([path, pictures[0][:, ::-1]], score=alone.scores[2], classes=['nut'])[0]
    chosen = (alone.labels == 1) & (alone.scores >= alone.scores[2])
    assert np.array_equal(again.boxes, alone.boxes[chosen])
    assert detect([]) == []
    for wrong, match in (
        (dict(images=pictures[0][..., 0]), 'BGR'),
        (dict(images=pictures[0] / 255), 'float64'),
        (dict(images=np.zeros((0, 4, 3), np.uint8)), 'BGR'),
        (dict(images=tmp_path / 'none.png'), 'none.png'),
        (dict(images=pictures, batch=0), 'batch'),
        (dict(images=pictures, classes=['nuts']), 'nut'),
    ):
        with pytest.raises(UsageError, match=match):
            detect(**wrong)


@pytest.mark.parametrize('cfg', ['mask_rcnn_se_r50'], indirect=True, scope='session')
def test_a_file_that_is_no_exported_detector_is_refused(exported, tmp_path):
    whole = exported[0].read_bytes()
    for content, match in (
        (None, 'No file'),
        (b'', 'cannot be read'),
        (whole[: len(whole) // 2], 'cannot be read'),
    ):
        path = tmp_path / 'detector.onnx'
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=match):
            se_det.OnnxDetector(path)
    with pytest.raises(UsageError, match='provider'):
        se_det.OnnxDetector(exported[0], providers=['NoProvider'])
    import onnx

    other = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> f (float[1] x) => (float[1] y) { y = Abs(x) }'
    )
    onnx.save(other, path)
    with pytest.raises(UsageError, match='another model'):
        se_det.OnnxDetector(path)


@pytest.mark.long
@pytest.mark.parametrize('cfg', ['mask_rcnn_se_r50'], indirect=True, scope='session')
def test_runs_where_only_numpy_and_onnxruntime_are_installed(exported, pictures, tmp_path):
    """Without OpenCV and Pillow too: NumPy resizes. Skips if pip cannot make the environment."""
    python = tmp_path / 'bin' / 'python'
    subprocess.run([sys.executable, '-m', 'venv', tmp_path], check=True)
    pins = ['-c', CHECKOUT / 'constraints.txt']
    install = [python, '-m', 'pip', 'install', '--quiet', *pins, 'numpy', 'onnxruntime']
    made = subprocess.run(install, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f'pip cannot install numpy and onnxruntime: {made.stderr[-300:]}')
    np.savez(tmp_path / 'pictures.npz', *pictures)
    program = (
        'import sys, numpy as np, se_det\n'
        'pictures = list(np.load("pictures.npz").values())\n'
        'found = se_det.OnnxDetector(sys.argv[1])(pictures, batch=2)\n'
        'assert not {"torch", "cv2", "PIL", "mmdet", "mmcv", "mmengine"} & sys.modules.keys()\n'
        'np.savez("found.npz", *(f.boxes for f in found), *(f.masks for f in found))\n'
    )
    subprocess.run(
        [python, '-c', program, exported[0]],
        check=True,
        cwd=tmp_path,
        env={'PYTHONPATH': str(CHECKOUT)},
    )
    expected = se_det.OnnxDetector(exported[0])(pictures, batch=2)
    expected = [found.boxes for found in expected] + [found.masks for found in expected]
    for ours, theirs in zip(np.load(tmp_path / 'found.npz').values(), expected, strict=True):
        assert np.array_equal(ours, theirs)
