# Faster R-CNN SE-R50 on ShapesDataset: what `make train` runs.
_base_ = 'faster_rcnn_r50_shapes.py'
model = dict(backbone=dict(type='SEResNet'))
