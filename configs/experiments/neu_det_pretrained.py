# P. The paper's protocol in miniature: ResNet-18, plain and with SE, pretrained with equal recipes
# on small images by tools/dev/pretrain.py, then trained on steel defects with MMDetection's
# settings for pretrained backbones. A unit is a pretraining and the trainings that start from it,
# here and in bccd_pretrained.py. What is fixed before the first run:
# - the question: is AP of `se` above or below that of `plain`, as the mean over units?
# - eight units a side, seeds 0 to 7, each with its own pretraining, of 30 epochs on all images.
# - one endpoint, AP; top-1 of the pretrained backbones and all other metrics are descriptive.
# - one look, after all units. No run is left out; one that is stopped goes on with the same seed.
_base_ = 'neu_det_scratch.py'

_epochs = 6
_weights = 'work_dirs/pretrained'
cfg_options = dict(
    model=dict(backbone=dict(frozen_stages=1, norm_eval=True)),
    train_cfg=dict(max_epochs=_epochs, val_interval=_epochs),
    param_scheduler={'1': dict(T_max=_epochs, end=_epochs)},
)
_init_cfg = 'model.backbone.init_cfg'
arms = dict(
    plain=dict(
        cfg_options={
            _init_cfg: dict(
                _delete_=True, type='Pretrained', checkpoint=_weights + '/plain_{seed}.pth'
            )
        }
    ),
    se=dict(
        cfg_options={
            _init_cfg: dict(
                _delete_=True, type='SEPretrained', checkpoint=_weights + '/se_{seed}.pth'
            )
        }
    ),
)
seeds = 8
