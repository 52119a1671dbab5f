# P, on blood cells (BCCD, 205 + 159 images in COCO's format below data/bccd/): as
# neu_det_pretrained.py, from the same weights, with an endpoint of its own.
_base_ = 'neu_det_pretrained.py'

_data_root = 'data/bccd/'
_dataset = dict(data_root=_data_root, metainfo=dict(classes=('Platelets', 'RBC', 'WBC')))
_dataloader = dict(dataset=_dataset)
_evaluator = dict(ann_file=_data_root + 'annotations/instances_val.json')
_epochs = 24  # a seventh as many images
cfg_options = dict(
    model=dict(roi_head=dict(bbox_head=dict(num_classes=3))),
    data_root=_data_root,
    train_dataloader=_dataloader,
    val_dataloader=_dataloader,
    test_dataloader=_dataloader,
    val_evaluator=_evaluator,
    test_evaluator=_evaluator,
    train_cfg=dict(max_epochs=_epochs, val_interval=_epochs),
    param_scheduler={'1': dict(T_max=_epochs, end=_epochs)},
)
# 256 pixels of 640: a platelet is then 15 wide. Resize is the third step of training.
_resized = {
    'train_dataloader.dataset.pipeline.2.scale': (256, 256),
    'val_dataloader.dataset.pipeline.1.scale': (256, 256),
    'test_dataloader.dataset.pipeline.1.scale': (256, 256),
}
arms = dict(plain=dict(cfg_options=_resized), se=dict(cfg_options=_resized))
