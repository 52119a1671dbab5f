"""Which files inputs name, and under which names."""

import re

import cv2
import numpy as np
import pytest

from se_det.errors import UsageError
from se_det.inference.inputs import find_inputs, video_facts, video_frames


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ('b.jpg', 'a.PNG', 'deep/a.jpg', 'deep/clip.mp4', 'notes.txt', '.hidden.jpg'):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('inputs', 'names'),
    [
        (['in'], ['a.PNG', 'b.jpg', 'deep/a.jpg', 'deep/clip.mp4']),
        (['in/deep'], ['a.jpg', 'clip.mp4']),
        (['in/b.jpg'], ['b.jpg']),
        (['in/../in/b.jpg', 'in/b.jpg'], ['b.jpg']),  # each once
        (['in/b.jpg', 'in/deep/a.jpg'], ['b.jpg', 'deep/a.jpg']),
        (['in/*.jpg'], ['b.jpg']),
        (['in/**/a.*'], ['a.PNG', 'deep/a.jpg']),
        (['in/notes.txt'], ['notes.txt']),  # who names a file wants it read
    ],
)
def test_names_are_paths_below_what_holds_all(folder, inputs, names):
    found = find_inputs(inputs)
    assert [file.name for file in found] == names
    assert all(file.path.is_file() for file in found)
    assert [file.is_video for file in found] == [name.endswith('mp4') for name in names]


@pytest.mark.parametrize('name', ['empty', 'in/*.gif', 'in/c.jpg'])
def test_inputs_without_a_file(folder, name):
    with pytest.raises(UsageError, match=re.escape(f'no image or video at {name}.')):
        find_inputs([name])


def test_a_video(tmp_path):
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 12, (64, 48))
    for level in range(5):
        writer.write(np.full((48, 64, 3), level * 50, np.uint8))
    writer.release()
    assert video_facts(path) == (12, 5)
    levels = [round(float(frame.mean()) / 50) for frame in video_frames(path)]
    assert levels == [0, 1, 2, 3, 4]


def test_a_video_that_is_none(tmp_path):
    path = tmp_path / 'clip.mp4'
    path.write_bytes(b'not a video')
    with pytest.raises(UsageError, match='no frame that OpenCV can decode'):
        next(video_frames(path))
