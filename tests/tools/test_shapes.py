"""The shapes: drawn, trained on, resumed, and trained on by two processes."""

import re

import pytest

SHAPES = 'configs/faster_rcnn_se_r50_shapes.py'
WORK_DIR = 'work_dirs/faster_rcnn_se_r50_shapes'
FEW = [
    'train_dataloader.dataset.num_images=8',
    'val_dataloader.dataset.num_images=4',
    'test_dataloader.dataset.num_images=4',
    'train_dataloader.batch_size=2',
    'model.test_cfg.rcnn.score_thr=0.0',
]


def _epochs(finished):
    """Epoch and iteration of each line of training progress."""
    assert finished.returncode == 0, finished.stderr
    lines = re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[(\d+)/4\]', finished.stdout)
    return [(int(epoch), int(iteration)) for epoch, iteration in lines]


def test_train_stop_and_resume(run, quick, tmp_path):
    options = quick + FEW
    first = run('train.py', SHAPES, options=[*options, 'train_cfg.max_epochs=1'])
    assert _epochs(first) == [(1, step) for step in (1, 2, 3, 4)]
    lines = first.stdout.splitlines()
    assert next(index for index, line in enumerate(lines) if 'Epoch(train)' in line) <= 12
    assert re.search(r'Weights: random', first.stdout)
    assert re.search(
        rf'Next: python -m se_det test \S*{SHAPES} {WORK_DIR}/best_\S+\.pth$', lines[-1]
    )
    assert first.stdout.count('Average Precision') + first.stdout.count('Average Recall') == 12

    resumed = run('train.py', SHAPES, '--resume', options=[*options, 'train_cfg.max_epochs=2'])
    assert _epochs(resumed) == [(2, step) for step in (1, 2, 3, 4)]
    assert re.search(r'Weights: .*epoch_1\.pth, resumed', resumed.stdout)
    assert re.search(r'Keys loaded: backbone (\d+)/\1, neck', resumed.stdout)
    page = tmp_path / WORK_DIR / 'report.html'
    assert f'The page of this run: {page}' in resumed.stdout
    page = page.read_text()
    assert 'epoch 2' in page  # that before the resume included
    assert page.count('<image ') == 4  # all validation images
    assert page.count('role="img"') == 4 * 2 + 7  # and seven figures
    assert (tmp_path / WORK_DIR / 'epoch_2.pth').exists()

    again = run('train.py', SHAPES, '--resume', options=[*options, 'train_cfg.max_epochs=2'])
    assert again.returncode == 0 and 'nothing was left to do' in again.stdout


@pytest.mark.long
def test_two_processes_with_gloo(run, quick, tmp_path, free_port):
    finished = run(
        'dist_train.sh',
        SHAPES,
        '2',
        options=[*quick, *FEW, 'train_cfg.max_epochs=1'],
        CUDA_VISIBLE_DEVICES='',
        PORT=free_port(),
    )
    assert finished.returncode == 0, finished.stderr
    steps = re.findall(r'Epoch\(train\)\s+\[1\]\[(\d)/2\]', finished.stdout)
    assert steps == ['1', '2']  # 8 images, 2 per process and step
    assert 'Average Precision' in finished.stdout

    tested = run(
        'dist_test.sh',
        SHAPES,
        str(tmp_path / WORK_DIR / 'epoch_1.pth'),
        '2',
        options=quick + FEW,
        CUDA_VISIBLE_DEVICES='',
        PORT=free_port(),
    )
    assert tested.returncode == 0, tested.stderr
    table = re.compile(r'Average .* = (-?[\d.]+)')
    assert table.findall(tested.stdout) == table.findall(finished.stdout)


@pytest.mark.long
def test_the_default_learns(run, tmp_path):
    """The command of ``make train``: about six minutes on two cores."""
    finished = run('train.py', SHAPES, OMP_NUM_THREADS='2')
    assert finished.returncode == 0, finished.stderr
    assert float(re.findall(r'bbox_mAP: ([\d.]+)', finished.stdout)[-1]) >= 0.5
