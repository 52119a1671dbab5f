"""Checkpoints are written whole or not at all, and the latest whole one is found."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from se_det import files
from se_det.engine.resume.checkpoint_files import WholeFilesBackend, latest_checkpoint
from se_det.errors import UsageError

KEEP_ONE = dict(
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='score', rule='less'
    )
)


def _checkpoint(path, iteration, optimizer=True):
    content = dict(
        meta=dict(epoch=0, iter=iteration), message_hub={}, state_dict=dict(w=torch.rand(999))
    )
    if optimizer:
        content['optimizer'] = {}
    torch.save(content, path)


@pytest.fixture
def work_dir(tmp_path):
    """A folder with checkpoints after 10, 20 and 30 iterations, and the best without its state."""
    for iteration in (10, 20, 30):
        _checkpoint(tmp_path / f'epoch_{iteration // 10}.pth', iteration)
    _checkpoint(tmp_path / 'best_epoch_3.pth', 30, optimizer=False)
    torch.save(dict(state_dict=dict(w=torch.rand(9))), tmp_path / 'weights.pth')
    return tmp_path


@pytest.mark.parametrize('pointer', [None, '', 'gone.pth', 'epoch_1.pth'])
def test_the_pointer_does_not_matter(work_dir, pointer):
    if pointer is not None:
        (work_dir / 'last_checkpoint').write_text(pointer)
    assert latest_checkpoint(work_dir).name == 'epoch_3.pth'
    copy = work_dir.rename(work_dir.with_name(f'{work_dir.name}_moved'))
    assert latest_checkpoint(copy) == copy / 'epoch_3.pth'


def _cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def _flip(path):
    """Change a weight, which only the checksum shows."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.load(path)['state_dict']['w'].numpy().tobytes()) + 50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('damage', [_cut, lambda path: path.write_bytes(b''), _flip])
def test_a_damaged_file_is_named_and_the_one_before_it_taken(work_dir, damage, log):
    damage(work_dir / 'epoch_3.pth')
    assert latest_checkpoint(work_dir).name == 'epoch_2.pth'
    assert any('epoch_3.pth' in text and 'damaged' in text for text in log)


def test_without_a_whole_file_nothing_is_started_over_it(work_dir):
    for path in work_dir.glob('*.pth'):
        _cut(path)
    with pytest.raises(
        UsageError, match=r'(?s)no checkpoint to resume.*epoch_1\.pth is damaged.*Remove'
    ):
        latest_checkpoint(work_dir)
    assert latest_checkpoint(work_dir / 'empty') is None


def test_at_every_moment_there_is_a_whole_checkpoint(toy_runner, tmp_path, monkeypatch):
    """Whatever a save is about to do to the disk, the latest checkpoint can be resumed from."""
    seen = []

    def watch(owner, name):
        original = getattr(owner, name)

        def watched(*args, **kwargs):
            if seen or list((tmp_path / 'run').glob('*.pth')):
                seen.append(latest_checkpoint(tmp_path / 'run').name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(files.os, 'fsync')
    watch(files.os, 'replace')
    watch(Path, 'replace')
    watch(Path, 'unlink')
    toy_runner(default_hooks=KEEP_ONE).train()
    assert {'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'} <= {*seen}
    left = sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))
    assert len(left) == 2 and left[1] == 'epoch_3.pth' and left[0].startswith('best_score')
    assert not list((tmp_path / 'run').glob('.*'))


def test_a_best_checkpoint_that_is_validated_again_stays(toy_runner, tmp_path):
    """Resumed after a save and before its validation, the best has the name it had before."""
    with pytest.raises(KeyboardInterrupt, match='killed'):
        toy_runner(stop=(12,), default_hooks=KEEP_ONE).train()
    [best] = (tmp_path / 'run').glob('best_*')
    path = tmp_path / 'run' / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)
    checkpoint['training_state']['validated'] = -1
    torch.save(checkpoint, path)
    runner = toy_runner(resume=True, load_from=str(path), default_hooks=KEEP_ONE)
    runner.message_hub.update_info('best_ckpt', str(best))
    runner.train()
    assert len(list((tmp_path / 'run').glob('best_*'))) == 1


def test_a_file_size_limit_leaves_what_was_there(tmp_path):
    """Needs no root: the system refuses to write files over a limit."""
    target = tmp_path / 'epoch_1.pth'
    target.write_bytes(b'old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(UsageError, match=r'cannot be written: File too large.*--resume'):
            WholeFilesBackend().put(b'x' * 10_000, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']


FULL = """
import subprocess, sys
sys.modules['mmdet'] = None  # its import takes seconds
from se_det.files import write_whole
for name, options in (('full', ''), ('readonly', ',ro')):
    folder = f'{sys.argv[1]}/{name}'
    mount = ['mount', '-t', 'tmpfs', '-o', f'size=64k{options}', 'none', folder]
    subprocess.run(mount, check=True)
    try:
        write_whole(f'{folder}/epoch_2.pth', b'x' * 100_000)
    except Exception as error:
        print(type(error).__name__, error)
    print(subprocess.run(['ls', '-A', folder], capture_output=True, text=True).stdout)
"""


def test_a_full_disk_and_one_that_is_read_only(tmp_path):
    """In a user namespace, so without root where the system allows these."""
    unshare = ['unshare', '--user', '--map-root-user', '--mount']
    if os.geteuid() == 0:
        unshare = ['unshare', '--mount']
    if shutil.which('unshare') is None or subprocess.run([*unshare, 'true']).returncode:
        pytest.skip('not run: this system has no user namespaces')
    for folder in ('full', 'readonly'):
        (tmp_path / folder).mkdir()
    command = [*unshare, sys.executable, '-c', FULL, tmp_path]
    finished = subprocess.run(command, capture_output=True, text=True)
    full, read_only = finished.stdout.strip().split('\n\n')
    for folder, text, reason in (
        ('full', full, 'No space left on device'),
        ('readonly', read_only, 'Read-only file system'),
    ):
        message = f'UsageError {tmp_path}/{folder}/epoch_2.pth cannot be written: {reason}.'
        assert text.strip() == message  # no file is left
