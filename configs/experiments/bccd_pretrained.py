# P, on blood cells (BCCD, 205 + 159 images in COCO's format below data/bccd/): as
# neu_det_pretrained.py, from the same weights, with an endpoint of its own.
_base_ = 'neu_det_pretrained.py'

_scale = (256, 256)  # of 640x480; a platelet is then 15 pixels wide
_data_root = 'data/bccd/'
_dataset = dict(data_root=_data_root, metainfo=dict(classes=('Platelets', 'RBC', 'WBC')))
_train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
_test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=_scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
_val_dataloader = dict(dataset=dict(**_dataset, pipeline=_test_pipeline))
_val_evaluator = dict(ann_file=_data_root + 'annotations/instances_val.json')
_epochs = 24  # a seventh as many images
cfg_options = dict(
    model=dict(roi_head=dict(bbox_head=dict(num_classes=3))),
    data_root=_data_root,
    train_dataloader=dict(dataset=dict(**_dataset, pipeline=_train_pipeline)),
    val_dataloader=_val_dataloader,
    test_dataloader=_val_dataloader,
    val_evaluator=_val_evaluator,
    test_evaluator=_val_evaluator,
    train_cfg=dict(max_epochs=_epochs, val_interval=_epochs),
    param_scheduler={'1': dict(T_max=_epochs, end=_epochs)},
)
