# B. Plain against SE from scratch on real images: six kinds of defects of steel surfaces (NEU-DET,
# 1,440 + 360 images, in COCO's format below data/neu_det/), small enough for a CPU. Last norms
# start at 1: zero, MMDetection's default, cost 4.5 AP in shapes_gate_start.
_scale = (128, 128)
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
_data_root = 'data/neu_det/'
_dataset = dict(
    _delete_=True,
    type='CocoDataset',
    data_root=_data_root,
    metainfo=dict(
        classes=(
            'crazing',
            'inclusion',
            'patches',
            'pitted_surface',
            'rolled-in_scale',
            'scratches',
        )
    ),
)
_val_dataloader = dict(
    dataset=dict(
        **_dataset,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=_test_pipeline,
    )
)
_val_evaluator = dict(ann_file=_data_root + 'annotations/instances_val.json')
_epochs = 3
cfg_options = dict(
    model=dict(
        backbone=dict(depth=18, zero_init_residual=False),
        neck=dict(in_channels=[64, 128, 256, 512]),
        roi_head=dict(bbox_head=dict(num_classes=6)),
    ),
    data_root=_data_root,
    train_dataloader=dict(
        dataset=dict(
            **_dataset,
            ann_file='annotations/instances_train.json',
            data_prefix=dict(img='train/'),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=_train_pipeline,
        )
    ),
    val_dataloader=_val_dataloader,
    test_dataloader=_val_dataloader,
    val_evaluator=_val_evaluator,
    test_evaluator=_val_evaluator,
    train_cfg=dict(max_epochs=_epochs, val_interval=_epochs),
    param_scheduler={'1': dict(T_max=_epochs, end=_epochs)},
)
arms = dict(
    plain=dict(config='configs/faster_rcnn_r50_shapes.py'),
    se=dict(config='configs/faster_rcnn_se_r50_shapes.py'),
)
seeds = 5
