"""A child config is short and loads as the twin."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmdet.models import RetinaNet
from mmengine.config import Config

from se_det.backbones import SEResNet
from se_det.config_files import find_config, read_config
from se_det.errors import UsageError
from se_det.swap import swap_backbone
from se_det.swap.child_config import base_name, child_config, write_twin


@pytest.mark.parametrize(
    'name',
    [
        'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco',
        'gn+ws/mask-rcnn_x50-32x4d_fpn_gn-ws-all_2x_coco',
        'lad/lad_r101-paa-r50_fpn_2xb8_coco_1x',
        'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco',
    ],
)
def test_the_written_twin_loads_as_the_twin(name, tmp_path):
    base = read_config(f'mmdet::{name}.py')
    twin = swap_backbone(base)
    text = child_config(base, twin, base_name(f'mmdet::{name}.py', tmp_path))
    (tmp_path / 'twin.py').write_text(text)
    assert Config.fromfile(tmp_path / 'twin.py').to_dict() == twin.to_dict()
    lines = text.splitlines()
    folder = '_base_/../' if name.startswith('gn+ws') else ''
    assert lines[0] == f"_base_ = 'mmdet::{folder}{name}.py'"
    assert len(lines) <= 25
    assert all(len(line) <= 100 or 'https://' in line for line in lines)


def test_the_text_of_a_child_config(tmp_path):
    assert write_twin('mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py', str(tmp_path / 'a/ld.py')) == (
        "_base_ = 'mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py'\n"
        "custom_imports = dict(imports=['se_det'])\n"
        'model = dict(\n'
        '    backbone=dict(\n'
        "        type='SEResNet',\n"
        "        init_cfg=dict(type='SEPretrained', checkpoint='timm/legacy_seresnet18.in1k'),\n"
        "        stem_pool='ceil',\n"
        '        se_cfg=dict(relu_before_se=True),\n'
        '    ),\n'
        ')\n'
    )


KEYS = st.sampled_from(['a', 'b', 'model', 'type', 'x-y', 'class'])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=40),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=15,
)
CONFIGS = st.dictionaries(st.sampled_from(['a', 'b', 'model', 'train_cfg']), VALUES)


@given(base=CONFIGS, changes=CONFIGS)
@example(base={}, changes={'a': ({'type': 'x' * 99},)})
@example(base={}, changes={'a': [float('inf'), {'b': -float('inf')}]})
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_difference_can_be_written(base, changes, tmp_path_factory):
    folder = tmp_path_factory.mktemp('configs')
    twin = {**base, **changes}
    assignments = (f'{key} = {value!r}\n' for key, value in base.items())
    (folder / 'base.py').write_text(f'inf = float("inf")\n{"".join(assignments)}del inf\n')
    loaded = Config.fromfile(folder / 'base.py')
    text = child_config(loaded, Config(twin), 'base.py')
    (folder / 'child.py').write_text(text)
    assert Config.fromfile(folder / 'child.py').to_dict() == Config(twin).to_dict()


def test_the_base_of_a_child_is_relative_to_the_child(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('mine').mkdir()
    Path('mine/r50.py').write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n")
    text = write_twin('mine/r50.py', 'theirs/se/r50.py', reduction=8)
    assert text.startswith("_base_ = '../../mine/r50.py'\n")
    twin = read_config('theirs/se/r50.py')
    assert twin.model.backbone.se_cfg == dict(reduction=8)
    assert twin.to_dict() == swap_backbone('mine/r50.py', reduction=8).to_dict()
    in_checkout = 'configs/faster_rcnn_r50.py'
    assert (tmp_path / base_name(in_checkout, tmp_path)).samefile(find_config(in_checkout))


def test_files_are_not_overwritten(tmp_path):
    out = tmp_path / 'twin.py'
    out.write_text('mine')
    for config, name, message in (
        ('configs/faster_rcnn_r50.py', 'twin.py', r'twin\.py exists\. Remove it'),
        ('configs/faster_rcnn_r50.py', 'twin.json', r'must end in \.py'),
        ('configs/faster_rcnn_r50.py', 'twin.py/x.py', 'x.py cannot be written: Not a directory'),
        ('configs/faster_rcnn_se_r50.py', 'se.py', r'has SE already\. Use it'),
    ):
        with pytest.raises(UsageError, match=message):
            write_twin(config, str(tmp_path / name))
    assert out.read_text() == 'mine'
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture
def pure_python(tmp_path):
    """A config that imports its classes, and inherits from another."""
    (tmp_path / 'new_style.py').write_text(
        'from mmengine.config import read_base\n'
        'from mmdet.models import ResNet, RetinaNet\n'
        'with read_base():\n'
        '    from .part import *\n'
        'model = dict(type=RetinaNet, backbone=dict(type=ResNet, depth=18, init_cfg=None))\n'
    )
    (tmp_path / 'part.py').write_text('max_epochs = 12\n')
    return tmp_path / 'new_style.py'


@pytest.mark.parametrize(('folder', 'module'), [('', '.new_style'), ('twins', '..new_style')])
def test_a_pure_python_config(pure_python, tmp_path, folder, module):
    out = tmp_path / folder / 'twin.py'
    text = write_twin(str(pure_python), str(out))
    assert text == (
        'from se_det.backbones import SEResNet\n'
        'from mmengine.config import read_base\n\n'
        f'with read_base():\n    from {module} import *\n\n'
        'model.merge(dict(backbone=dict(type=SEResNet)))\n'
    )
    twin = read_config(out)
    assert (twin.model.backbone.type, twin.model.backbone.depth) == (SEResNet, 18)
    assert (twin.model.type, twin.max_epochs) == (RetinaNet, 12)


def test_a_pure_python_config_that_cannot_be_imported(pure_python, tmp_path):
    with pytest.raises(UsageError, match=r'must consist of identifiers.* se_det train CONFIG'):
        pure_python.rename(tmp_path / 'new-style.py')
        write_twin(str(tmp_path / 'new-style.py'), str(tmp_path / 'twin.py'))
    assert not (tmp_path / 'twin.py').exists()
