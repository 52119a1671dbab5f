# Plain against SE on real images, from scratch: ResNet-50, 10 epochs at 224 pixels, for a GPU.
_base_ = 'neu_det_scratch.py'

_epochs = 10
_long = {
    'model.backbone.depth': 50,
    'model.neck.in_channels': [256, 512, 1024, 2048],
    'train_dataloader.dataset.pipeline.2.scale': (224, 224),
    'val_dataloader.dataset.pipeline.1.scale': (224, 224),
    'test_dataloader.dataset.pipeline.1.scale': (224, 224),
    'train_cfg.max_epochs': _epochs,
    'train_cfg.val_interval': _epochs,
    'param_scheduler.1.T_max': _epochs,
    'param_scheduler.1.end': _epochs,
}
arms = dict(
    _delete_=True,
    plain=dict(config='configs/faster_rcnn_r50_shapes.py', cfg_options=_long),
    se=dict(config='configs/faster_rcnn_se_r50_shapes.py', cfg_options=_long),
)
seeds = 5
