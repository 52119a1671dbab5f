from pathlib import Path

import pytest

from se_det.engine.experiments.plan import read_plan
from se_det.errors import UsageError


def test_runs_are_seed_by_seed(make_plan):
    plan = make_plan('seeds = [3, 1]')
    assert plan.name == 'mine'
    assert plan.runs() == [('plain', 3), ('se', 3), ('plain', 1), ('se', 1)]
    assert plan.comparisons == (('plain', 'se'),)


def test_a_start_for_each_seed_or_for_all(make_plan):
    start = "start = dict(config='configs/faster_rcnn_r50_shapes.py'{})"
    arms = [('plain', 0), ('se', 0), ('plain', 1), ('se', 1)]
    plan = make_plan(start.format(''))
    assert plan.runs() == [('start', 0), *arms[:2], ('start', 1), *arms[2:]]
    plan = make_plan(start.format(', seeds=[7]'))
    assert plan.runs() == [('start', 7), *arms]
    with pytest.raises(UsageError, match='one seed, or the seeds of the arms'):
        make_plan(start.format(', seeds=[7, 8]'))


def test_configs_of_runs(make_plan):
    """Common options come first, an arm's own change them; a run has its seed."""
    plan = make_plan("""
_epochs = 3
cfg_options = {'train_cfg.max_epochs': _epochs, 'optim_wrapper': dict(optimizer=dict(lr=0.5))}
arms['se']['cfg_options'] = dict(optim_wrapper=dict(optimizer=dict(lr=0.25)))
""")
    plain, se = plan.config('plain', 0, None), plan.config('se', 1, None)
    assert (plain.model.backbone.type, se.model.backbone.type) == ('ResNet', 'SEResNet')
    assert (plain.randomness.seed, se.randomness.seed) == (0, 1)
    assert (plain.optim_wrapper.optimizer.lr, se.optim_wrapper.optimizer.lr) == (0.5, 0.25)
    assert plain.train_cfg.max_epochs == se.train_cfg.max_epochs == 3
    assert plain.train_dataloader == se.train_dataloader


def test_weights_to_start_from_are_loaded_grafted_or_inserted(make_plan):
    plan = make_plan("""
_plain = arms['plain']['config']
arms['se'] = dict(config=_plain, se=True)
arms['inserted'] = dict(config=_plain, se=True, fresh_se=True)
""")
    plain, grafted, inserted = (plan.config(arm, 0, 'w.pth') for arm in plan.arms)
    assert plain.load_from == inserted.load_from == 'w.pth'
    assert plain.model.backbone.type == 'ResNet'
    assert grafted.load_from is None
    assert grafted.model.init_cfg == dict(type='SEPretrained', checkpoint='w.pth', graft=True)
    assert inserted.model.backbone.type == 'SEResNet'
    assert inserted.model.get('init_cfg') is None
    assert inserted.custom_hooks[-1].type == 'FreshSEHook'
    with pytest.raises(UsageError, match='fresh_se in inserted is for weights from start'):
        plan.config('inserted', 0, None)


def test_a_run_has_one_checkpoint_to_resume_from(make_plan):
    hook = make_plan('').config('se', 0, None).default_hooks.checkpoint
    assert (hook.interval, hook.max_keep_ckpts) == (1, 1)
    assert hook.get('save_optimizer', True)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('arms = dict(se=dict(config="a.py"))', 'arms has to be a dict of two or more'),
        ('arms["start"] = arms["se"]', 'none of them called start'),
        ('arms["se"] = "a.py"', r'arms\.se is a dict with the keys config, se'),
        ('arms["se"] = dict(se=True)', r'arms\.se has to name its config'),
        ('arms["se"] = dict(config="a.py", sed=1)', r"got \['sed'\]"),
        ('seeds = 0', 'seeds has to be how many'),
        ('seeds = [1, 1]', 'seeds has to be how many'),
        ('del seeds', 'got None'),
        ('sedes = 3', r"got \['sedes'\]"),
        ('comparisons = [("plain", "x")]', 'comparisons are pairs of the arms plain, se'),
        ('comparisons = 3', r"comparisons are pairs .*\('plain', 'se'\).*got 3"),
        ('comparisons = "plain"', 'comparisons are pairs'),
        ('comparisons = [(["plain"], "se")]', 'comparisons are pairs'),
        ('arms = dict(a=3)', "got {'a': 3}"),
        ('arms["../x"] = arms["se"]', 'names, which folders get'),
        ('start = "a.py"', "start is a dict with the keys .*got 'a.py'"),
        ('start = 3', 'start is a dict with the keys'),
        ('start = dict(config="a.py", seeds="x")', 'seeds has to be how many'),
        ('seeds = True', 'seeds has to be how many'),
        ('seeds = 10**12', 'seeds has to be how many'),
        ('seeds = [2**40]', 'seeds has to be how many'),
        ('cfg_options = ["a=1"]', r"cfg_options has to be a dict; got \['a=1'\]"),
        ('arms["se"]["cfg_options"] = 3', r'arms\.se: cfg_options has to be a dict'),
        ('arms["se"]["se"] = "yes"', r'arms\.se: se has to be a bool'),
        ('load_from = 3', 'load_from has to be a str'),
        ('paired = 1', 'paired has to be a bool'),
        ('seeds = 6; looks = [3]', r'last of the looks is at all 6 seeds; got \[3\]'),
        ('seeds = 6; looks = [1, 6]', 'rising from 2 or more'),
        ('seeds = 6; looks = 6', 'rising from 2 or more'),
    ],
)
def test_what_is_no_plan(make_plan, text, message):
    with pytest.raises(UsageError, match=message):
        make_plan(text)


def test_a_part_of_a_plan(make_plan):
    plan = make_plan("""
arms['odd'] = arms['se']
seeds = 3
""")
    part = plan.only(['plain', 'odd'], 2)
    assert part.runs() == [('plain', 0), ('odd', 0), ('plain', 1), ('odd', 1)]
    assert part.comparisons == (('plain', 'odd'),)
    assert part.looks == (3,) and part.interim(2) == 'interim, 2 of 3 seeds'
    assert plan.only(None, None) == plan
    with pytest.raises(UsageError, match=r"mine has the arms plain, se, odd; got \['x'\]"):
        plan.only(['x'], None)
    for alone in (['se'], ['se', 'odd']):
        with pytest.raises(UsageError, match=f'nothing of {", ".join(alone)} alone.*plain se'):
            plan.only(alone, None)
    with pytest.raises(UsageError, match='mine has 3 seeds; got --seeds 4'):
        plan.only(None, 4)


PLANS = sorted(Path(__file__).parents[3].glob('configs/experiments/*.py'))


@pytest.mark.parametrize('path', PLANS, ids=lambda path: path.stem)
def test_the_plans_here_differ_in_what_they_say(path):
    """Arms have the same data, batches and number of epochs, unless they are named after it."""
    plan = read_plan(str(path))
    assert len(plan.seeds) >= 3
    configs = {arm: plan.config(arm, 0, 'start.pth' if plan.start else None) for arm in plan.arms}
    first, *others = configs.values()
    for other in others:
        for key in ('train_dataloader', 'val_dataloader', 'val_evaluator', 'auto_scale_lr'):
            assert other[key] == first[key]
    for baseline, candidate in plan.comparisons:
        for key in ('train_cfg', 'param_scheduler', 'optim_wrapper'):
            assert configs[baseline][key] == configs[candidate][key]
        assert configs[baseline].model != configs[candidate].model
    for arm, cfg in configs.items():
        assert (cfg.model.backbone.type == 'SEResNet') == arm.startswith('se')


def test_the_registered_plan_means_what_it_meant():
    plan = read_plan('configs/experiments/neu_det_registered.py')
    assert plan.seeds == tuple(range(7, 19))
    assert (plan.looks, plan.paired, plan.group_by) == ((12,), False, None)
    assert plan.comparisons == (('plain', 'se'),)


def test_looks_before_the_last_seed(make_plan):
    plan = make_plan('seeds = 6; looks = [3, 6]; paired = True; group_by = "video"')
    assert [plan.interim(seeds) for seeds in (2, 3, 6)] == ['interim, 2 of 6 seeds', None, None]
