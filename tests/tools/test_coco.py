"""Train on COCO images, evaluate, and evaluate the checkpoint again."""

import pickle
import re

import pytest

SMALL_IMAGES = [
    f'{split}_dataloader.dataset.pipeline.{index}.scale=(256,160)'
    for split, index in (('train', 2), ('val', 1), ('test', 1))
]
FEW_STEPS = [
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.indices=8',
    'val_dataloader.dataset.indices=16',
    'test_dataloader.dataset.indices=16',
    'model.test_cfg.rcnn.score_thr=0.0',  # an untrained detector has low scores
]


@pytest.fixture
def coco(shared, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'coco').symlink_to(shared / 'coco_mini')
    return tmp_path


def _coco_table(output):
    return re.findall(r'Average (?:Precision|Recall) .* = (-?[\d.]+)', output)


def test_train_then_test_print_the_same_coco_table(coco, run, quick):
    options = quick + SMALL_IMAGES + FEW_STEPS
    trained = run('train.py', 'configs/faster_rcnn_se_r50.py', options=options)
    assert trained.returncode == 0, trained.stderr
    assert len(re.findall(r'Epoch\(train\)', trained.stdout)) == 4
    assert '[16/16]' in trained.stdout
    table = _coco_table(trained.stdout)
    assert len(table) == 12
    page = coco / 'work_dirs/faster_rcnn_se_r50/report.html'
    assert f'The page of this run: {page}' in trained.stdout
    assert 'Training loss' in page.read_text()

    checkpoint = str(coco / 'work_dirs/faster_rcnn_se_r50/epoch_1.pth')
    tested = run(
        'test.py', 'configs/faster_rcnn_se_r50.py', checkpoint, '--out', 'out.pkl', options=options
    )
    assert tested.returncode == 0, tested.stderr
    assert _coco_table(tested.stdout) == table
    assert 'Training loss' in page.read_text()  # the checkpoint's
    assert f'{checkpoint} --out out.pkl' in page.read_text()
    predictions = pickle.loads((coco / 'out.pkl').read_bytes())
    assert len(predictions) == 16

    augmented = run(
        'test.py',
        'configs/faster_rcnn_se_r50.py',
        checkpoint,
        '--tta',
        '--show-dir',
        'shown',
        options=[*options, 'test_dataloader.dataset.indices=2'],
    )
    assert augmented.returncode == 0, augmented.stderr
    assert len(list(coco.glob('work_dirs/*/*/shown/*.jpg'))) == 2
