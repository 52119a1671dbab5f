"""Arms are paired: what differs between runs of one seed is the arm alone."""

from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed


def test_runs_of_one_seed_see_the_same_batches(make_plan, tmp_path):
    """The detectors draw different numbers of random numbers before; seeds differ in all."""
    plan = make_plan(f"""
_small = {{
    'model.backbone.base_channels': 16,
    'model.neck.in_channels': [64, 128, 256, 512],
    'train_dataloader.dataset.data_root': {f'{tmp_path}/shapes/'!r},
    'train_dataloader.dataset.num_images': 24,
}}
cfg_options = _small
""")
    init_default_scope('mmdet')
    seen = {}
    for arm, seed in plan.runs():
        cfg = plan.config(arm, seed, None)
        set_random_seed(cfg.randomness.seed)
        MODELS.build(cfg.model)
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=cfg.randomness.seed)
        samples = [sample for batch in loader for sample in batch['data_samples']]
        seen[arm, seed] = [(sample.img_id, sample.flip) for sample in samples]
    assert seen['plain', 0] == seen['se', 0]
    assert seen['plain', 1] == seen['se', 1] != seen['plain', 0]
    assert len({flip for _, flip in seen['plain', 0]}) == 2
