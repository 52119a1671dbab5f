"""Damaged image files: found, or they decode to the pixels that they had."""

import random
import re
from collections import Counter

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from se_det.datasets.check.decode_all import decode_images
from se_det.datasets.check.image_checks import ORIENTATION, image_fault
from se_det.engine.unreadable_images import GuardedLoading, UnreadableImageError


def _image(kind):
    """A picture with texture, as bytes."""
    rng = np.random.default_rng(0)
    pixels = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120))
    return cv2.imencode(f'.{kind}', pixels)[1].tobytes()


def _damaged(content, rng):
    """Damage of a disk, a download or a copy; returns what was done, too."""
    content = bytearray(content)
    start = rng.randrange(len(content))
    kind = rng.choice(['cut off', 'empty', 'zeros', 'flip', 'delete', 'insert', 'other file'])
    if kind == 'cut off':
        del content[start:]
    elif kind == 'empty':
        content.clear()
    elif kind == 'zeros':
        end = min(len(content), start + 512)
        content[start:end] = bytes(end - start)
    elif kind == 'flip':
        content[start] ^= 1 << rng.randrange(8)
    elif kind == 'delete':
        del content[start : start + rng.choice([1, 8, 500])]
    elif kind == 'insert':
        content[start:start] = rng.randbytes(8)
    else:
        content = bytearray(b'<html>404 Not Found</html>')
    return kind, bytes(content)


@pytest.mark.parametrize('count', [30, pytest.param(300, marks=pytest.mark.long)])
def test_damaged_images(count, tmp_path):
    originals = {kind: _image(kind) for kind in ('jpg', 'png')}
    names, kinds = [], {}
    for seed in range(count):
        rng = random.Random(seed)
        kind = rng.choice(list(originals))
        damage, content = _damaged(originals[kind], rng)
        name = f'{seed}.{kind}'
        (tmp_path / name).write_bytes(content)
        names.append(name)
        kinds[name] = damage
    decoded, outcomes = decode_images(tmp_path, names), Counter()
    replaced = np.zeros(1 << 16, np.uint8)
    guard = GuardedLoading(LoadImageFromFile(), count, replaced)
    for name in names:
        kind = name.rpartition('.')[2]
        pixels = cv2.imdecode(np.frombuffer(originals[kind], np.uint8), cv2.IMREAD_COLOR)
        size, complaint = decoded[name]
        loaded = guard(dict(img_path=str(tmp_path / name)))
        assert (loaded is None) == isinstance(size, str), name  # a run and the tool agree
        if isinstance(size, str) or complaint:
            outcomes[kind, 'found'] += 1
        elif size == [160, 120] and (loaded['img'] == pixels).all():
            outcomes[kind, 'same pixels'] += 1
        else:  # JPEG has no checksum
            outcomes[kind, 'other pixels'] += 1
            assert kind == 'jpg' and kinds[name] in ('zeros', 'flip', 'delete', 'insert'), name
    print(count, 'images:', dict(sorted(outcomes.items())))
    assert outcomes['png', 'other pixels'] == 0
    assert outcomes['jpg', 'found'] > 3 and outcomes['png', 'found'] > 3


@pytest.mark.parametrize('kind', ['jpg', 'png', 'bmp', 'webp'])
def test_whole_images_pass(kind, tmp_path):
    path = tmp_path / f'a.{kind}'
    path.write_bytes(_image(kind))
    assert image_fault(path, 160, 120) is None
    assert decode_images(tmp_path, [path.name]) == {path.name: ([160, 120], '')}
    assert 'is 160x120; the annotations say 120x160' in image_fault(path, 120, 160)
    path.write_bytes(path.read_bytes() + bytes(10_000))  # after the end: still fine
    assert image_fault(path, 160, 120) is None


def _loaded(path):
    guard = GuardedLoading(LoadImageFromFile(), 0, np.zeros(8))
    return guard(dict(img_path=str(path)))['img']


@pytest.mark.parametrize('missing', [1, 2, 12])
@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_a_file_without_its_end_is_a_note(kind, missing, tmp_path):
    """All of the picture is there, but for some of the last pixels of a JPEG."""
    path, whole = tmp_path / f'a.{kind}', _image(kind)
    path.write_bytes(whole[:-missing])
    assert image_fault(path, 160, 120) is None
    size, note = decode_images(tmp_path, [path.name])[path.name]
    assert size == [160, 120] and 'lacks its end' in note
    pixels = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
    same = (_loaded(path) == pixels).all(-1).mean()
    assert same == 1 if kind == 'png' or missing < 3 else same > 0.99


@pytest.mark.parametrize('share', [0.2, 0.5, 0.8])
@pytest.mark.parametrize('kind', ['jpg', 'png', 'bmp', 'ppm'])
def test_how_much_of_a_picture_is_missing(kind, share, tmp_path):
    """In these pictures of noise, lines take the same number of bytes each."""
    pixels = np.random.default_rng(0).integers(0, 256, (480, 320, 3), np.uint8)
    content = cv2.imencode(f'.{kind}', pixels)[1].tobytes()
    path = tmp_path / f'a.{kind}'
    path.write_bytes(content[: int((1 - share) * len(content))])
    fault, _ = decode_images(tmp_path, [path.name])[path.name]
    found = int(re.search(r': (\d+)% of the picture is missing', fault)[1]) / 100
    assert abs(found - share) < 0.05, fault
    with pytest.raises(UnreadableImageError, match=f'{found:.0%} of the picture'):
        _loaded(path)


@pytest.mark.parametrize(
    ('color_type', 'backend', 'size'),
    [
        ('color', 'cv2', (160, 120)),
        ('color', 'pillow', (160, 120)),
        ('grayscale', 'cv2', (160, 120)),
        ('unchanged', 'cv2', (120, 160)),
        ('color_ignore_orientation', 'cv2', (120, 160)),
    ],
)
def test_images_are_decoded_as_the_config_says(color_type, backend, size, tmp_path):
    """A picture that its EXIF data turn by 90 degrees."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (120, 160)).save(path, exif=exif)
    decoder = (color_type, backend)
    loaded = LoadImageFromFile(color_type=color_type, imdecode_backend=backend)
    assert loaded(dict(img_path=str(path)))['img'].shape[1::-1] == size
    assert image_fault(path, *size, decoder) is None
    assert image_fault(path, *size[::-1], decoder).endswith('as their EXIF data say)')
    assert decode_images(tmp_path, ['a.jpg'], decoder=decoder)['a.jpg'] == (list(size), '')


def test_what_was_decoded_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    names = ['a.jpg', 'b.jpg']
    for name in names:
        (tmp_path / name).write_bytes(_image('jpg'))
    first = decode_images(tmp_path, names)
    with monkeypatch.context() as patch:
        patch.setattr('se_det.datasets.check.decode_all._decode', lambda path: pytest.fail('again'))
        assert decode_images(tmp_path, names) == first
    (tmp_path / 'b.jpg').write_bytes(_image('jpg')[:500])
    assert decode_images(tmp_path, names) == {
        **first,
        'b.jpg': ('is cut off: 100% of the picture is missing', ''),
    }
    (tmp_path / 'b.jpg').unlink()
    assert decode_images(tmp_path, names)['b.jpg'][0].startswith('cannot be read: No such file')
