# A. Plain against SE from scratch on the drawn shapes: the recipe of `make train`, with five times
# its validation images, validated once, after the last epoch.
arms = dict(
    plain=dict(config='configs/faster_rcnn_r50_shapes.py'),
    se=dict(config='configs/faster_rcnn_se_r50_shapes.py'),
)
seeds = 5
keep_checkpoints = True

_data_root = 'data/shapes_500/'
_val_dataloader = dict(dataset=dict(data_root=_data_root, num_images=500))
_val_evaluator = dict(ann_file=_data_root + 'annotations/instances_val.json')
cfg_options = dict(
    data_root=_data_root,
    train_dataloader=dict(dataset=dict(data_root=_data_root)),
    val_dataloader=_val_dataloader,
    test_dataloader=_val_dataloader,
    val_evaluator=_val_evaluator,
    test_evaluator=_val_evaluator,
    train_cfg=dict(val_interval=5),
)
