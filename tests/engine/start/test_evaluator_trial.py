"""Each option of CocoMetric, and each name that a hook expects of it, works or is refused early."""

import inspect
import json
from copy import deepcopy

import numpy as np
import pytest
from mmdet.evaluation import CocoMetric

from se_det.engine.coco_metric import LIBRARIES, EitherCocoMetric
from se_det.engine.launch import load_config
from se_det.engine.start.evaluator_trial import try_evaluator
from se_det.errors import UsageError

from ...evaluation.conftest import draw
from ...evaluation.test_results import samples_of

CLASSES = ('class 0', 'class 1', 'class 2')
WORKING = dict(
    ann_file=[{}],
    metric=[dict(metric=kind) for kind in ('bbox', 'segm', ['bbox', 'segm'], 'proposal')],
    classwise=[dict(classwise=True)],
    proposal_nums=[
        dict(proposal_nums=(100, 300, 1000)),
        dict(proposal_nums=[1, 10, 100]),
        dict(proposal_nums=(300, 100, 1000), metric='proposal'),
    ],
    iou_thrs=[dict(iou_thrs=0.5), dict(iou_thrs=[0.5, 0.75]), dict(iou_thrs=(0.3, 0.4, 0.9))],
    metric_items=[
        dict(metric_items=['mAP_50', 'AR@100', 'mAP_l']),
        dict(metric='proposal', metric_items=['AR@1000']),
        dict(metric_items=['mAP', 'mAP_50'], iou_thrs=[0.5]),
    ],
    format_only=[dict(format_only=True, outfile_prefix='out/val')],
    outfile_prefix=[dict(outfile_prefix='out/deep/val', metric=['bbox', 'segm'])],
    file_client_args=[dict(file_client_args=None)],
    backend_args=[dict(backend_args=None), dict(backend_args=dict(backend='local'))],
    collect_device=[dict(collect_device='cpu')],
    prefix=[dict(prefix='mine')],
    sort_categories=[dict(sort_categories=True, classwise=True)],
    use_mp_eval=[dict(use_mp_eval=True)],
)
REFUSED = dict(
    metric=[dict(metric=kind) for kind in ('keypoints', 'mAP', ['bbox', 'x'], 3)],
    classwise=[dict(classwise=True, iou_thrs=[0.5])],
    proposal_nums=[
        *(dict(proposal_nums=numbers) for numbers in (5, [100], [10, 20, 30], 'many')),
        dict(proposal_nums=[1, 10, 100], metric='proposal'),
    ],
    iou_thrs=[dict(iou_thrs=found) for found in ('half', [], [[0.5], [0.6, 0.7]])],
    metric_items=[
        dict(metric_items=['bbox_mAP']),
        dict(metric_items=['mAP_75'], iou_thrs=[0.5]),
        dict(metric_items=['AR@100'], proposal_nums=[1, 10, 100]),
    ],
    format_only=[dict(format_only=True)],
    outfile_prefix=[dict(outfile_prefix='/dev/null/val')],
    file_client_args=[dict(file_client_args=dict(backend='disk'))],
    collect_device=[dict(collect_device='tpu')],
    no_option=[dict(iou_thresholds=[0.5])],
)


@pytest.fixture(scope='module')
def loaded():
    return load_config('configs/mask_rcnn_se_r50.py')


@pytest.fixture
def check(loaded, tmp_path, monkeypatch):
    """Check a config with options of the evaluator and changes of hooks."""
    monkeypatch.chdir(tmp_path)

    def run(changes=None, **options):
        cfg = deepcopy(loaded)
        cfg.val_dataloader.dataset.metainfo = dict(classes=CLASSES)
        cfg.val_evaluator = dict(type='CocoMetric', ann_file='gt.json', **options)
        for name, value in (changes or {}).items():
            if '.' in name:
                cfg.merge_from_dict({name: value})
            else:
                cfg[name] = value
        try_evaluator(cfg, 'val')

    return run


def test_all_documented_options_are_tried():
    assert {*WORKING} == {*inspect.signature(CocoMetric).parameters}


@pytest.mark.parametrize('options', [case for cases in WORKING.values() for case in cases])
def test_an_option_that_works(check, tmp_path, options):
    """Both libraries give the same, by names that ``save_best`` may have."""
    check(**options)
    annotations, _ = draw(np.random.default_rng(0), segm=True)
    if options.get('sort_categories'):
        annotations['categories'].reverse()
    reports = []
    for library in LIBRARIES:
        path = tmp_path / 'gt.json'
        path.write_text(json.dumps(annotations))
        metric = EitherCocoMetric(str(path), library=library, **options)
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, list(samples_of(annotations)))
        reports.append(metric.evaluate(len(annotations['images'])))
    np.testing.assert_equal(*reports)
    assert bool(reports[0]) != options.get('format_only', False)
    check({'default_hooks.checkpoint.save_best': [*reports[0]]}, **options)
    with pytest.raises(UsageError, match='none of the names that val_evaluator gives'):
        check({'default_hooks.checkpoint.save_best': 'mAP'}, **options)
    if prefix := options.get('outfile_prefix'):
        assert (tmp_path / f'{prefix}.bbox.json').exists()


def test_only_a_prefix_needs_a_folder(check, monkeypatch):
    """A training in one's home is not stopped by its parent, which root owns."""
    monkeypatch.setattr('os.access', lambda *_: False)
    check()
    with pytest.raises(UsageError, match=r'val_evaluator\.outfile_prefix: .* is not writable'):
        check(outfile_prefix='out/val')


@pytest.mark.parametrize('options', [case for cases in REFUSED.values() for case in cases])
def test_an_option_that_does_not_work(check, options):
    with pytest.raises(UsageError, match='val_evaluator') as caught:
        check(**options)
    assert any(name in str(caught.value) for name in options)


@pytest.mark.parametrize(
    ('changes', 'name'),
    [
        ({'default_hooks.checkpoint.save_best': 'bbox_mAP'}, 'checkpoint.save_best=coco/bbox_mAP'),
        ({'default_hooks.checkpoint.save_best': ['coco/bbox_mAP', 'coco/x']}, 'coco/x'),
        ({'default_hooks.best': dict(type='CheckpointHook', save_best='mAP')}, 'best.save_best='),
        ({'custom_hooks': [dict(type='EarlyStoppingHook', monitor='bbox_mAP')]}, 'hooks.0.monitor'),
        ({'param_scheduler': [dict(type='ReduceOnPlateauLR')]}, "param_scheduler.0.monitor='loss'"),
        ({'param_scheduler': dict(type='ReduceOnPlateauLR', monitor='x')}, "monitor='x'"),
    ],
)
def test_names_that_the_evaluator_does_not_give(check, changes, name):
    with pytest.raises(UsageError) as caught:
        check(changes)
    assert name in str(caught.value)


def test_names_that_it_gives_and_metrics_of_others(check):
    hook = dict(type='EarlyStoppingHook', monitor='coco/bbox_mAP_50')
    check({'default_hooks.checkpoint.save_best': 'auto', 'custom_hooks': [hook]})
    check({'val_evaluator.type': 'VOCMetric', 'default_hooks.checkpoint.save_best': 'mine'})


def test_masks_of_a_detector_without(check):
    with pytest.raises(UsageError, match='no mask_head'):
        check({'model.roi_head.mask_head': None}, metric=['bbox', 'segm'])
