"""Files are written whole; links are followed, and nothing is renamed over a pipe or a device."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from se_det.errors import UsageError
from se_det.files import check_folder, check_output, write_whole

PRINTS = """
import sys
sys.modules['mmdet'] = None  # its import takes seconds
from se_det.files import write_whole
print('before')
write_whole({path!r}, b'written\\n')
print('after')
"""


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(tmp_path):
    target = tmp_path / 'deep' / 'target.json'
    link = tmp_path / 'link.json'
    link.symlink_to('deep/target.json')  # not there yet
    write_whole(link, b'1')
    target.chmod(0o640)
    write_whole(link, b'2')
    assert link.is_symlink() and target.read_bytes() == b'2'
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(target.parent) == ['target.json']


@pytest.mark.skipif(os.geteuid() != 0, reason='not run: root alone gives files away')
def test_a_file_keeps_its_owner(tmp_path):
    path = tmp_path / 'report.html'
    path.touch(0o604)
    os.chown(path, 1234, 4321)
    write_whole(path, b'page')
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o604)


@pytest.mark.skipif(os.geteuid() == 0, reason='not run: root may write everywhere')
def test_a_protected_file_is_not_replaced(tmp_path):
    path = tmp_path / 'protected.json'
    path.write_bytes(b'old')
    path.chmod(0o400)
    with pytest.raises(UsageError, match='cannot be written: Permission denied'):
        write_whole(path, b'new')
    assert path.read_bytes() == b'old'


def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / 'pipe', []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    content = os.urandom(300_000)  # more than a pipe holds
    write_whole(pipe, content)
    reader.join()
    assert read == [content] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(('minor', 'reason'), [(3, None), (7, 'No space left on device')])
def test_a_device_stays_a_device(tmp_path, minor, reason):
    """Copies of /dev/null and /dev/full."""
    device = tmp_path / 'device'
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        device.open('ab').close()
    except OSError:
        pytest.skip('not run: this system lets nobody make devices here')
    if reason:
        with pytest.raises(UsageError, match=f'device cannot be written: {reason}'):
            write_whole(device, b'content')
    else:
        write_whole(device, b'content')
    assert stat.S_ISCHR(device.stat().st_mode) and os.listdir(tmp_path) == ['device']


@pytest.mark.parametrize('to_file', [True, False])
def test_standard_output(tmp_path, to_file):
    """Also where it goes to a file, by whatever name."""
    printed = tmp_path / 'printed.txt'
    for path in ('/dev/stdout', str(printed)) if to_file else ('/dev/stdout',):
        command = [sys.executable, '-c', PRINTS.format(path=path)]
        if to_file:
            with printed.open('wb') as out:
                subprocess.run(command, stdout=out, check=True)
            found = printed.read_text()
        else:
            found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert found == 'before\nwritten\nafter\n'


def test_an_output_is_checked_before_what_takes_long(tmp_path):
    file = tmp_path / 'annotations.json'
    file.write_text('{}')
    (tmp_path / 'link.json').symlink_to(file)
    check_output(tmp_path / 'new' / 'out.json', [file])
    check_output(file)
    for out, message in [
        (tmp_path / 'link.json', 'would be overwritten'),
        (tmp_path, 'is a folder'),
        (file / 'out.json', 'is a file'),
    ]:
        with pytest.raises(UsageError, match=message):
            check_output(out, [file])
    with pytest.raises(UsageError, match=r'annotations.json is a file; .*below must be a folder'):
        check_folder(file / 'below')
    assert not (tmp_path / 'new').exists() and file.read_text() == '{}'
