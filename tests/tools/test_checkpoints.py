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
        ('convert_weights.py', ['evil.pth', 'ours.pth'], None),
        ('convert_weights.py', ['evil.pth', '--inspect'], None),
    ],
    ids=['resume', 'resume latest', 'load_from', 'test', 'convert', 'inspect'],
)
def test_a_command_in_a_checkpoint_does_not_run(run, quick, tmp_path, tool, arguments, options):
    trace = tmp_path / 'trace'
    checkpoint = dict(state_dict={'backbone.conv1.weight': RunsCommand(trace)})
    torch.save(checkpoint, tmp_path / 'evil.pth')
    (tmp_path / 'last_checkpoint').write_text('evil.pth')
    options = [] if options is None else [*quick, *TINY, *options]
    finished = run(tool, *arguments, options=options)
    assert finished.returncode == 2, finished.stderr
    assert 'could run code' in finished.stderr
    assert 'Traceback' not in finished.stderr
    assert not trace.exists()
    assert not (tmp_path / 'ours.pth').exists()


def test_test_refuses_weights_that_do_not_fit(run, quick, tmp_path):
    weights = {'backbone.conv1.weight': torch.zeros(8, 3, 7, 7)}
    torch.save(dict(state_dict=weights), tmp_path / 'plain.pth')
    finished = run('test.py', SHAPES, 'plain.pth', options=[*quick, *TINY])
    assert finished.returncode == 2, finished.stderr
    assert 'missing: backbone.bn1.weight' in finished.stderr
    assert 'python -m se_det convert_weights CHECKPOINT detector.pth --graft' in finished.stderr


def test_convert_inspect_and_graft(run, tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'empty.pth')
    failed = run('convert_weights.py', 'empty.pth', '--inspect')
    assert failed.returncode == 2
    assert failed.stderr.strip().startswith('error: No weights in empty.pth. Its keys: state_dict.')
    assert run('convert_weights.py', 'empty.pth').returncode == 2
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'resnet18.pth')
    grafted = run('convert_weights.py', 'resnet18.pth', 'se.pth', '--graft')
    assert grafted.returncode == 0, grafted.stderr
    summary = "for dict(type='SEResNet', depth=18); left out: fc.weight, fc.bias"
    assert grafted.stdout.strip().endswith(summary)
    inspected = run('convert_weights.py', 'se.pth', '--inspect')
    assert "dict(type='SEResNet', depth=18)" in inspected.stdout
    assert 'SE:           yes' in inspected.stdout

    for layout, returncode in (('plain', 2), ('timm', 0)):
        forced = run('convert_weights.py', 'se.pth', f'{layout}.pth', '--layout', layout)
        assert forced.returncode == returncode, forced.stderr
        assert (tmp_path / f'{layout}.pth').exists() == (returncode == 0)
