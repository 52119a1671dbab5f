"""tools/predict.py: COCO results, pictures and videos of files, good and bad."""

import contextlib
import io
import json
import os
import runpy
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import se_det
from se_det.engine import launch
from se_det.inference import prediction

from .conftest import CLASSES, SIZES

FASTER, MASK = 'faster_rcnn_se_r50', 'mask_rcnn_se_r50'
TOOL = Path(__file__).parents[2] / 'tools' / 'predict.py'


@pytest.fixture
def predict(detectors, tmp_path, monkeypatch):
    """Run the tool with a small detector in a folder with images; returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        checkpoint = detectors[name][1]
        config = tmp_path / 'small.py'
        config.write_text(torch.load(checkpoint)['meta']['cfg'])  # formatting it takes a second
        command = [str(TOOL), str(config), str(checkpoint), '--device', 'cpu', *arguments]
        monkeypatch.setattr('sys.argv', command)
        try:
            runpy.run_path(str(TOOL), run_name='__main__')
        except SystemExit as stop:
            return stop.code
        return 0

    return run


@pytest.fixture
def images(tmp_path, pixels):
    folder = tmp_path / 'images'
    (folder / 'deep').mkdir(parents=True)
    for number, size in enumerate(SIZES):
        name = f'deep/{number}.png' if number % 2 else f'{number}.jpg'
        cv2.imwrite(str(folder / name), pixels(*size, number))
    return folder


def results(out):
    """Predictions by image name, and the COCO index of both files."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(out / 'images.json')
        coco.loadRes(str(out / 'predictions.json'))
    by_name = {image['file_name']: [] for image in coco.dataset['images']}
    for found in json.loads((out / 'predictions.json').read_text()):
        by_name[coco.imgs[found['image_id']]['file_name']].append(found)
    return by_name, coco


def test_results_and_masks_are_those_of_the_detector(predict, detectors, images, tmp_path):
    out = tmp_path / 'out'
    assert predict(MASK, 'images', '--out', 'out', '--score', '0.1', '--batch', '2') == 0
    by_name, coco = results(out)
    assert list(by_name) == ['0.jpg', '2.jpg', '4.jpg', 'deep/1.png', 'deep/3.png']
    detector = se_det.Detector(detectors[MASK][1], device='cpu')
    for name, found in by_name.items():
        expected = detector(images / name, score=0.1)
        assert len(found) == len(expected) > 0
        boxes = np.array([one['bbox'] for one in found])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, expected.boxes, rtol=1e-5, atol=1e-3)
        labels = [coco.cats[one['category_id']]['name'] for one in found]
        assert labels == expected.names
        masks = [coco_mask.decode(one['segmentation']) for one in found]
        assert (np.array(masks, bool) != expected.masks).mean() < 1e-5
        picture = cv2.imread(str(out / 'pictures' / name) + '.jpg' * name.endswith('png'))
        assert picture.shape == cv2.imread(str(images / name)).shape


def test_ids_of_an_annotation_file(predict, images, tmp_path):
    categories = [dict(id=10 * i, name=name) for i, name in enumerate(CLASSES[::-1], 1)]
    entries = [
        dict(id=70 + i, file_name=name) for i, name in enumerate(['deep/1.png', 'deep/3.png'])
    ]
    ann = tmp_path / 'ann.json'
    ann.write_text(json.dumps(dict(images=entries, categories=categories, annotations=[])))
    arguments = '--ann', 'ann.json', '--score', '0', '--no-pictures', '--out'
    assert predict(FASTER, 'images/**/*.png', *arguments, 'wrong') == 2  # names start in deep/
    assert not (tmp_path / 'wrong').exists()
    entries = [dict(entry, file_name=entry['file_name'][5:]) for entry in entries]
    ann.write_text(json.dumps(dict(images=entries, categories=categories, annotations=[])))
    assert predict(FASTER, 'images/deep', *arguments, 'out') == 0
    by_name, coco = results(tmp_path / 'out')
    assert {name: found[0]['image_id'] for name, found in by_name.items()} == {
        '1.png': 70,
        '3.png': 71,
    }
    assert {found['category_id'] for found in by_name['1.png']} == {10, 20, 30}
    assert coco.cats[10]['name'] == CLASSES[2]
    assert not (tmp_path / 'out' / 'pictures').exists()


@pytest.mark.long
def test_coco_metrics_are_those_of_tools_test(predict, detectors, images, tmp_path):
    """Annotations are some of the detector's own boxes, so that metrics are not zero."""
    assert predict(FASTER, 'images', '--out', 'own', '--no-pictures') == 0
    ann = json.loads((tmp_path / 'own' / 'images.json').read_text())
    boxes = json.loads((tmp_path / 'own' / 'predictions.json').read_text())[::3]
    ann['annotations'] = [
        dict(box, id=number, area=box['bbox'][2] * box['bbox'][3], iscrowd=0)
        for number, box in enumerate(boxes, 1)
    ]
    (tmp_path / 'ann.json').write_text(json.dumps(ann))
    arguments = '--ann', 'ann.json', '--score', '0', '--no-pictures', '--batch', '2'
    assert predict(FASTER, 'images', '--out', 'out', *arguments) == 0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO('ann.json')
        evaluation = COCOeval(coco, coco.loadRes('out/predictions.json'), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    options = {
        f'test_dataloader.{key}': value
        for key, value in {
            'num_workers': 0,
            'persistent_workers': False,
            'dataset.data_root': '',
            'dataset.ann_file': 'ann.json',
            'dataset.data_prefix.img': 'images/',
        }.items()
    }
    options['test_evaluator.ann_file'] = 'ann.json'
    launch.test('small.py', str(detectors[FASTER][1]), work_dir='test', cfg_options=options)
    (log,) = Path('test').glob('*/*.json')
    measured = list(json.loads(log.read_text()).values())[:6]
    np.testing.assert_allclose(measured, evaluation.stats[:6], atol=6e-4)
    assert 0.01 < measured[0] < 0.99


def test_bad_files_are_named_and_the_rest_is_done(predict, images, capsys, tmp_path):
    (images / '1_empty.jpg').touch()
    (images / '3_text.jpg').write_text('not an image')
    whole = (images / '0.jpg').read_bytes()
    (images / '5_cut.jpg').write_bytes(whole[: len(whole) // 2])
    (images / '6_clip.mp4').write_bytes(b'not a video')
    assert predict(FASTER, 'images', '--out', 'out', '--batch', '2') == 1
    captured = capsys.readouterr()
    for name in ('1_empty.jpg is an empty', '3_text.jpg', '5_cut.jpg is cut', '6_clip.mp4'):
        assert name in captured.err
    assert '4 files could not be read' in captured.err
    assert 'in 5 images' in captured.out and 'images.json are in out' in captured.out
    assert len(results(tmp_path / 'out')[0]) == 5


def test_a_video(predict, pixels, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / 'clip.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 12, (96, 64)
    )
    for number in range(5):
        writer.write(pixels(64, 96, number))
    writer.release()
    assert predict(FASTER, 'clip.avi', '--out', 'out', '--score', '0.2') == 0
    frames = json.loads((tmp_path / 'out' / 'images.json').read_text())['images']
    assert [(frame['file_name'], frame['frame']) for frame in frames] == [
        ('clip.avi', number) for number in range(5)
    ]
    drawn = cv2.VideoCapture(str(tmp_path / 'out' / 'pictures' / 'clip.avi.mp4'))
    assert drawn.get(cv2.CAP_PROP_FPS) == 12 and drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert drawn.read()[1].shape == (64, 96, 3)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['images', '--classes', 'rings'], "no class 'rings'. Did you mean 'ring'"),
        (['nowhere'], 'no image or video at nowhere'),
        (['images', '--out', 'images'], 'images has files'),
        (['images', '--batch', '0'], 'batch must be 1 or more'),
        (['images', '--ann', 'nowhere.json'], 'nowhere.json'),
    ],
)
def test_usage_errors(predict, images, capsys, arguments, message):
    before = sorted(images.rglob('*'))
    assert predict(FASTER, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and not captured.out
    assert sorted(images.rglob('*')) == before


def test_results_of_other_runs_stay(predict, images, tmp_path):
    assert predict(FASTER, 'images/0.jpg', '--score', '1') == 0
    (first,) = tmp_path.glob('work_dirs/small/predictions/*/predictions.json')
    assert json.loads(first.read_text()) == []
    assert predict(FASTER, 'images/0.jpg', '--out', str(first.parent)) == 2


def test_ctrl_c_keeps_what_was_found(predict, images, capsys, tmp_path, monkeypatch):
    class Interrupting(prediction.PictureFiles):
        def add(self, file, *arguments):
            super().add(file, *arguments)
            if file.name == '2.jpg':
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(prediction, 'PictureFiles', Interrupting)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # xdist ignores it
    try:
        assert predict(FASTER, 'images', '--out', 'out') == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    captured = capsys.readouterr()
    assert captured.err.strip().startswith('Stopped by Ctrl-C after 1 of 5 images')
    assert len(captured.err.strip().splitlines()) == 1
    assert len(results(tmp_path / 'out')[0]) == 2
