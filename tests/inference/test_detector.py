"""se_det.Detector against mmdet's own test_step, on files good and bad."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.ops import RoIAlign
from mmdet.apis import init_detector
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image

import se_det
from se_det.errors import UsageError
from se_det.inference.separable_roi_align import SeparableRoIAlign

from .conftest import CLASSES, SIZES

FASTER, MASK = 'faster_rcnn_se_r50', 'mask_rcnn_se_r50'


@pytest.fixture(scope='module')
def detector(detectors):
    made = {}

    def make(name):
        if name not in made:
            made[name] = se_det.Detector(detectors[name][1], device='cpu')
        return made[name]

    return make


@pytest.fixture(scope='module')
def files(tmp_path_factory, pixels):
    folder = tmp_path_factory.mktemp('images')
    paths = []
    for number, size in enumerate((*SIZES, *SIZES[:2])):
        paths.append(str(folder / f'{number}.png'))
        cv2.imwrite(paths[-1], pixels(*size, number))
    return paths


@pytest.fixture(scope='module')
def reference(detectors):
    """Detections of mmdet's model, pipeline and test_step."""

    def detect(name, paths):
        cfg, checkpoint = detectors[name]
        model = init_detector(deepcopy(cfg), str(checkpoint), device='cpu', palette='random')
        steps = Compose(
            [
                step
                for step in cfg.test_dataloader.dataset.pipeline
                if step['type'] != 'LoadAnnotations'
            ]
        )
        samples = [steps(dict(img_path=path, img_id=0)) for path in paths]
        with torch.no_grad():
            return [model.test_step(pseudo_collate([sample]))[0] for sample in samples]

    return detect


def assert_same(found, expected):
    instances = expected.pred_instances
    assert len(found) == len(instances) > 0
    np.testing.assert_allclose(found.scores, instances.scores.numpy(), atol=1e-5)
    np.testing.assert_array_equal(found.labels, instances.labels.numpy())
    np.testing.assert_allclose(found.boxes, instances.bboxes.numpy(), rtol=1e-5, atol=1e-3)
    if found.masks is not None:
        assert (found.masks != instances.masks.numpy()).mean() < 1e-5  # pixels at the threshold


@pytest.mark.parametrize(('name', 'batch'), [(FASTER, 1), (FASTER, 3), (MASK, 2)])
def test_results_equal_those_of_mmdet(detector, reference, files, name, batch):
    found = detector(name)(files, batch=batch)
    assert len(found) == len(files)
    for mine, expected in zip(found, reference(name, files), strict=True):
        assert_same(mine, expected)
    assert {label for one in found for label in one.labels} == {0, 1, 2}


def test_one_image_an_array_and_an_iterator(detector, files):
    faster = detector(FASTER)
    one = faster(files[0])
    assert isinstance(one, se_det.Detections) and one.classes == CLASSES
    from_array = faster(cv2.imread(files[0]))
    (from_iterator,) = faster(iter(files[:1]))
    for other in (from_array, from_iterator):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert faster([]) == []


def test_score_and_classes(detector, files):
    whole = detector(MASK)(files[1])
    middle = float(np.median(whole.scores))
    chosen = detector(MASK)(files[1], score=middle, classes=['square'])
    expected = (whole.scores >= middle) & (whole.labels == 1)
    np.testing.assert_array_equal(chosen.boxes, whole.boxes[expected])
    np.testing.assert_array_equal(chosen.masks, whole.masks[expected])
    assert set(chosen.names) <= {'square'}


def test_an_unknown_class_is_named_before_anything_is_read(detector):
    with pytest.raises(UsageError, match=r"no class 'squares'\. Did you mean 'square'"):
        detector(FASTER).stream(iter(()), classes=['squares'])


def test_a_stream_is_read_as_it_is_used(detector, files):
    """Not further ahead than the docstring says, and without end."""
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield files[0]

    stream = detector(FASTER).stream(endless(), batch=2)
    for _ in range(3):
        next(stream)
    assert len(taken) <= 20
    stream.close()


@pytest.mark.parametrize(
    ('cut', 'reason'),
    [
        (lambda whole: b'', 'is an empty file'),
        (lambda whole: b'not an image', 'is not an image'),
        (lambda whole: None, 'cannot be read'),
        (lambda whole: whole[: len(whole) * 2 // 3], 'is cut off'),
        (lambda whole: whole[:-2], None),  # its pixels are all there
    ],
)
def test_a_file_that_is_no_whole_image(detector, tmp_path, pixels, cut, reason):
    path = tmp_path / 'image.png'
    whole = cv2.imencode('.png', pixels(64, 64))[1].tobytes()
    if (content := cut(whole)) is not None:
        path.write_bytes(content)
    if reason is None:
        np.testing.assert_array_equal(detector(FASTER).read(path), pixels(64, 64))
        return
    with pytest.raises(UsageError, match=rf'image\.png {reason}'):
        detector(FASTER)(path)


@pytest.mark.parametrize('array', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros(3)])
def test_an_array_that_is_no_image(detector, array):
    with pytest.raises(UsageError, match=r'\(H, W, 3\) in BGR'):
        detector(FASTER)(array)


def test_kinds_of_images_are_read_as_mmdet_reads_them(detector, reference, tmp_path, pixels):
    image = pixels(64, 96)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(image).save(tmp_path / 'turned.jpg', exif=exif)
    cv2.imwrite(str(tmp_path / 'grey.png'), image[..., 0])
    cv2.imwrite(str(tmp_path / 'deep.png'), image.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / 'alpha.png'), np.dstack([image, image[..., :1]]))
    paths = sorted(map(str, tmp_path.iterdir()))
    found = detector(FASTER)(paths)
    for mine, expected in zip(found, reference(FASTER, paths), strict=True):
        assert_same(mine, expected)
    assert detector(FASTER).read(tmp_path / 'turned.jpg').shape == (96, 64, 3)


def test_a_checkpoint_of_another_architecture(detectors):
    wide = deepcopy(detectors[FASTER][0])
    wide.model.roi_head.bbox_head.fc_out_channels = 48
    for cfg, difference in (
        (detectors[MASK][0], r'does not fit the MaskRCNN.*missing: roi_head.mask_head'),
        (wide, r'another shape: .*shared_fcs'),
    ):
        with pytest.raises(UsageError, match=difference):
            se_det.Detector(detectors[FASTER][1], cfg, 'cpu')


def test_checkpoints_without_a_config(detectors, detector, files, tmp_path):
    """Of mmengine without metadata, and of another program: a prefix, other names and metadata."""
    cfg, checkpoint = detectors[FASTER]
    weights, path = torch.load(checkpoint)['state_dict'], tmp_path / 'weights.pth'
    expected = detector(FASTER)(files[0])
    prefixed = {f'module.{key}': tensor for key, tensor in weights.items()}
    for content in (weights, dict(network=prefixed, meta=dict(dataset_meta=None), epoch=1)):
        torch.save(content, path)
        given = se_det.Detector(path, cfg, 'cpu')
        assert given.classes == CLASSES  # from the config
        np.testing.assert_array_equal(given(files[0]).boxes, expected.boxes)
        with pytest.raises(UsageError, match='has no config in it'):
            se_det.Detector(path, device='cpu')


def test_a_missing_device(detectors):
    with pytest.raises(UsageError, match="'nowhere' cannot be used"):
        se_det.Detector(detectors[FASTER][1], device='nowhere')


@given(
    length=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corners=st.lists(st.tuples(*[st.floats(-60, 400, width=32)] * 4), max_size=12),
    ratio=st.integers(0, 3),
    aligned=st.booleans(),
    size=st.sampled_from([7, (3, 5)]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_roi_align_as_two_products(length, corners, ratio, aligned, size, memory_format):
    """Equals mmcv's for RoIs inside, across and outside of the map, and without area."""
    maps = torch.randn(2, 4, *length, generator=torch.manual_seed(0))
    maps = maps.to(memory_format=memory_format)
    first, second = torch.tensor(corners).reshape(-1, 2, 2).sort(1).values.unbind(1)
    rois = torch.cat([torch.arange(len(corners))[:, None] % 2, first, second], 1)
    arguments = size, 0.125, ratio, 'avg', aligned
    expected = RoIAlign(*arguments)(maps, rois)
    torch.testing.assert_close(
        SeparableRoIAlign(*arguments)(maps, rois), expected, atol=1e-5, rtol=1e-5
    )
