"""The tools convert and inspect checkpoints and run no code in them."""

import os

import pytest
import torch
import torchvision

SHAPES = 'configs/faster_rcnn_se_r50_shapes.py'
TINY = [
    'train_dataloader.dataset.num_images=2',
    'val_dataloader.dataset.num_images=1',
    'test_dataloader.dataset.num_images=1',
    'train_dataloader.batch_size=2',
]


class RunsCommand:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f'touch {self.trace}',)


@pytest.mark.parametrize(
    ('tool', 'arguments', 'options'),
    [
        ('train.py', [SHAPES, '--resume', 'evil.pth'], []),
        ('train.py', [SHAPES, '--resume', '--work-dir', '.'], []),
        ('train.py', [SHAPES], ['load_from=evil.pth']),
        ('test.py', [SHAPES, 'evil.pth'], []),
    ],
    ids=['resume', 'resume latest', 'load_from', 'test'],
)
def test_a_command_in_a_checkpoint_does_not_run(run, quick, tmp_path, tool, arguments, options):
    trace = tmp_path / 'trace'
    checkpoint = dict(state_dict={'backbone.conv1.weight': RunsCommand(trace)})
    torch.save(checkpoint, tmp_path / 'evil.pth')
    (tmp_path / 'last_checkpoint').write_text('evil.pth')
    finished = run(tool, *arguments, options=[*quick, *TINY, *options])
    assert finished.returncode == 2, finished.stderr
    assert 'could run code' in finished.stderr
    assert 'Traceback' not in finished.stderr
    assert not trace.exists()


def test_test_refuses_weights_that_do_not_fit(run, quick, tmp_path):
    weights = {'backbone.conv1.weight': torch.zeros(8, 3, 7, 7)}
    torch.save(dict(state_dict=weights), tmp_path / 'plain.pth')
    finished = run('test.py', SHAPES, 'plain.pth', options=[*quick, *TINY])
    assert finished.returncode == 2, finished.stderr
    assert 'missing: backbone.bn1.weight' in finished.stderr
    assert 'python -m se_det convert_weights CHECKPOINT detector.pth --graft' in finished.stderr


def test_convert_inspect_and_graft(run_here, tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'empty.pth')
    torch.save(dict(state_dict=RunsCommand(tmp_path / 'trace')), tmp_path / 'evil.pth')
    torch.save(b'x' * 999, tmp_path / 'cut.pth')
    (tmp_path / 'cut.pth').write_bytes((tmp_path / 'cut.pth').read_bytes()[:-200])
    for arguments, message in (
        (['empty.pth', '--inspect'], 'error: No weights in empty.pth. Its keys: state_dict.'),
        (['empty.pth'], 'name DST'),
        (['evil.pth', '--inspect'], 'could run code'),
        (['evil.pth', 'ours.pth'], 'could run code'),
        (['cut.pth', 'ours.pth'], 'cut.pth is damaged'),
    ):
        failed = run_here('convert_weights.py', *arguments)
        assert failed.returncode == 2 and message in failed.stderr, failed.stderr
    assert not (tmp_path / 'ours.pth').exists() and not (tmp_path / 'trace').exists()

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'resnet18.pth')
    grafted = run_here('convert_weights.py', 'resnet18.pth', 'se.pth', '--graft')
    assert grafted.returncode == 0, grafted.stderr
    summary = "for dict(type='SEResNet', depth=18); left out: fc.weight, fc.bias"
    assert grafted.stdout.strip().endswith(summary)
    inspected = run_here('convert_weights.py', 'se.pth', '--inspect').stdout
    assert "dict(type='SEResNet', depth=18)" in inspected and 'SE:           yes' in inspected
    for layout, returncode in (('plain', 2), ('timm', 0)):
        forced = run_here('convert_weights.py', 'se.pth', f'{layout}.pth', '--layout', layout)
        assert forced.returncode == returncode, forced.stderr
        assert (tmp_path / f'{layout}.pth').exists() == (returncode == 0)
