"""What is wrong with a config is an error that names it, or the option that changed it."""

import random

import pytest

from se_det.config_files import read_config
from se_det.engine import launch
from se_det.engine.launch import train
from se_det.engine.start.start_errors import FirstIterationHook, named_start_errors
from se_det.errors import UsageError

SHAPES = 'configs/faster_rcnn_se_r50_shapes.py'


def test_errors_of_libraries_name_the_options():
    with (
        pytest.raises(UsageError, match=r'a\.py with --cfg-options b=1 c=x cannot be run:\nValue'),
        named_start_errors('a.py', dict(b=1, c='x')),
    ):
        raise ValueError('no')


def test_errors_after_the_first_iteration_are_raised_as_they_are():
    with pytest.raises(ValueError, match='no'), named_start_errors('a.py', dict(b=1)) as hook:
        hook.after_train_iter(None, 0)
        raise ValueError('no')


@pytest.fixture
def in_a_folder(tmp_path, tmp_path_factory, monkeypatch):
    """An empty current folder, and no data in the checkout."""
    monkeypatch.setattr(launch, 'CHECKOUT', tmp_path_factory.mktemp('checkout'))
    monkeypatch.chdir(tmp_path)


class OneIterationDone(Exception):
    """The end of a run that started."""


@pytest.fixture
def start(in_a_folder, monkeypatch, tiny):
    """Train for one iteration; returns whether it was done."""

    images = {
        'train_dataloader.batch_size': 2,
        'train_dataloader.dataset.num_images': 4,
        'val_dataloader.dataset.num_images': 4,
    }

    def done(self, runner, *_, **__):
        self.done = True
        raise OneIterationDone

    def run(config=SHAPES, **options):
        try:
            train(config, work_dir='work', cfg_options={**tiny, **images, **options})
        except OneIterationDone:
            return True
        return False

    monkeypatch.setattr(FirstIterationHook, '_after_iter', done)
    return run


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('model.backbone.depth', 51),
        ('optim_wrapper.optimizer.lr', -1),
        ('train_dataloader.batch_size', 'many'),
        ('model.type', 'FasterRCNNN'),
    ],
)
def test_a_wrong_value(start, option, value):
    with pytest.raises(UsageError, match=rf'--cfg-options.* {option}={value}'):
        start(**{option: value})


def test_a_wrong_name_in_a_config(start, tmp_path):
    text = f'_base_ = {str(read_config(SHAPES).filename)!r}\nmodel = dict(bakbone=dict(depth=18))\n'
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises(UsageError, match=r'mine\.py.* cannot be run:\n.*bakbone'):
        start('mine.py')


def _leaves(node, path=()):
    """Paths in a config and their values."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key), value
        if isinstance(value, dict | list):
            yield from _leaves(value, (*path, key))


def _misspelt(generator, path):
    """The path with a letter of one of its names dropped, doubled or changed."""
    names = [index for index, name in enumerate(path) if isinstance(name, str) and len(name) > 4]
    if not names:
        return None
    index = generator.choice(names)
    name, at = path[index], generator.randrange(1, len(path[index]) - 1)
    letters = generator.choice(['', name[at] * 2, 'q'])
    return (*path[:index], name[:at] + letters + name[at + 1 :], *path[index + 1 :]), index


@pytest.mark.long
def test_200_changed_options(start):
    """A misspelt name is refused; a wrong value is, or the training starts with it."""
    generator = random.Random(0)
    cfg = read_config(SHAPES)
    read = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')
    leaves = list(_leaves({name: cfg._cfg_dict[name] for name in (*read, 'default_hooks')}))
    values = ['abc', -1, None, [], {}, 3, 0.5, True]
    refused = started = 0
    while refused + started < 200:
        path, old = generator.choice(leaves)
        is_misspelt = generator.random() < 0.5
        if is_misspelt:
            if not (changed := _misspelt(generator, path)):
                continue
            path, index = changed
        value = old if is_misspelt else generator.choice(values)
        option = '.'.join(map(str, path))
        try:
            assert start(**{option: value}), f'{option}={value} trained to the end'
            started += 1
            assert not is_misspelt, f'{option} was accepted'
        except UsageError as error:
            refused += 1
            named = '.'.join(map(str, path[: index + 1])) if is_misspelt else f'{option}={value}'
            assert named in str(error), f'{option}={value}: {error}'
    print(f'{refused} refused, {started} started')
