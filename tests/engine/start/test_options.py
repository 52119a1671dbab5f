"""Options are set in a config; a misspelt name is an error that has the right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config

from se_det.config_files import find_config, package_configs, read_config
from se_det.engine.start.options import check_top_level, set_options
from se_det.errors import UsageError

SHAPES = 'configs/faster_rcnn_se_r50_shapes.py'


@pytest.fixture(scope='module')
def shapes():
    return read_config(SHAPES)


@pytest.mark.parametrize(
    ('option', 'right'),
    [
        ('optim_wraper.optimizer.lr', 'optim_wrapper'),
        ('model.bakbone.depth', 'model.backbone'),
        ('train_cfg.max_epoch', 'train_cfg.max_epochs'),
        ('train_dataloader.batchsize', 'train_dataloader.batch_size'),
        ('train_dataloader.dataset.pipeline.2.scal', 'train_dataloader.dataset.pipeline.2.scale'),
        ('model.backbone.se_cfgs', 'model.backbone.se_cfg'),  # of SEResNet, not in the config
        ('max_unreadable_image', 'max_unreadable_images'),  # of se_det, not in the config
        ('default_hooks.checkpoint.max_keep_ckpt', 'default_hooks.checkpoint.max_keep_ckpts'),
    ],
)
def test_a_misspelt_name(shapes, option, right):
    *names, last = option.split('.')
    for options in ({option: 1}, {'.'.join(names): {last: 1}}) if names else ({option: 1},):
        with pytest.raises(UsageError, match=rf'--cfg-options {option[:12]}.*mean {right}\?'):
            set_options(shapes, options, SHAPES)


@pytest.mark.parametrize(
    'option', ['model.type.x', 'param_scheduler.9.end', 'model.backbone.init_cfg.checkpoint']
)
def test_a_path_through_something_else(shapes, option):
    with pytest.raises(UsageError, match=rf'--cfg-options {option}=1 does not fit {SHAPES}'):
        set_options(shapes, {option: 1}, SHAPES)


def _is_list_of_dicts(value):
    """Whether mmengine can set an item of a list."""
    return isinstance(value, list) and value and all(isinstance(item, dict) for item in value)


@given(st.data())
def test_what_is_there_can_be_set(shapes, data):
    node, names = shapes._cfg_dict, []
    while isinstance(node, dict) or _is_list_of_dicts(node):
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            return
        names.append(data.draw(st.sampled_from(keys)))
        node = node[names[-1]]
    cfg = Config(shapes.to_dict())
    set_options(cfg, {'.'.join(map(str, names)): 'new'}, SHAPES)
    for name in names:
        cfg = cfg[name]
    assert cfg == 'new'


def test_new_names_that_resemble_none(shapes):
    cfg = Config(shapes.to_dict())
    options = {
        'model.backbone.with_cp': True,
        'model.backbone.norm_cfg.eps': 1e-3,
        'optim_wrapper.paramwise_cfg.norm_decay_mult': 0.0,
        'randomness.seed': 1,
        'load_from': 'a.pth',
        'model.backbone': dict(type='SEResNeXt', groups=32, base_width=4),
        'val_evaluator': dict(_delete_=True, type='CocoMetric', metrics='bbox'),
    }
    set_options(cfg, options, SHAPES)
    assert cfg.model.backbone.groups == 32 and cfg.val_evaluator.metrics == 'bbox'


def test_a_misspelt_name_at_the_top_of_a_config():
    cfg = Config(dict(optim_wraper=dict(type='OptimWrapper'), data_root='data/', max_epochs=3))
    with pytest.raises(UsageError, match=r'mine\.py sets optim_wraper.*mean optim_wrapper\?'):
        check_top_level(cfg, 'mine.py')


@pytest.mark.long
def test_the_configs_of_mmdetection_have_no_misspelt_names():
    files = [file for file in package_configs('mmdet').rglob('*.py') if '_base_' not in str(file)]
    for file in [*files, *find_config(SHAPES).parent.glob('*.py')]:
        try:
            cfg = Config.fromfile(file, import_custom_modules=False)
        except Exception:  # it needs a package that is not installed
            continue
        check_top_level(cfg, str(file))
