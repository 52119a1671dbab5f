"""The config in a checkpoint is read as values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from se_det.config_files import read_config
from se_det.errors import UsageError
from se_det.inference.training_config import training_config

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('aé \\\'"\n'),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(['a', 'b', 'c.d', 'e-f']), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(text):
    return training_config(dict(meta=dict(cfg=text)), 'epoch_1.pth')


@settings(max_examples=12)  # formatting takes mmengine most of a second
@given(values=st.dictionaries(st.sampled_from(['x', 'y', 'z']), VALUES, max_size=3))
def test_values_are_those_that_were_saved(values):
    cfg = Config(values)
    assert read(cfg.pretty_text).to_dict() == cfg.to_dict()


def test_one_of_our_configs():
    cfg = read_config('configs/cascade_rcnn_se_r50.py')
    assert read(cfg.pretty_text).to_dict() == cfg.to_dict()


@pytest.mark.parametrize(
    'text',
    [
        'import os\nos.mkdir("{}")',
        'x = __import__("os").mkdir("{}")',
        'x = dict(a=[open("{}", "w")])',
        'model = dict(type="os.mkdir", path="{}")',
        'model = dict(type="FasterRCNN", neck=[dict(type="pathlib.os.mkdir", path="{}")])',
        'test_pipeline = [dict(type="mmengine.mkdir_or_exist", dir_name="{}")]',
    ],
)
def test_code_is_not_run(text, tmp_path):
    mark = tmp_path / 'mark'
    with pytest.raises(UsageError, match=r'epoch_1.pth (has more than values|builds)'):
        read(text.format(mark))
    assert not mark.exists()


def test_a_module_that_was_not_imported():
    with pytest.raises(UsageError, match='type `import this_is_not_there` before'):
        read("custom_imports = dict(imports=['this_is_not_there'])")


@pytest.mark.parametrize('checkpoint', [{}, dict(meta={}), dict(meta=dict(cfg=None))])
def test_no_config(checkpoint):
    with pytest.raises(UsageError, match='has no config in it'):
        training_config(checkpoint, 'epoch_1.pth')
