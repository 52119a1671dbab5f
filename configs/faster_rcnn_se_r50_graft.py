_base_ = 'faster_rcnn_se_r50.py'
# Starts from MMDetection's plain Faster R-CNN, 37.4 AP, with SE grafted to the whole detector.
url = 'https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco'
file = 'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth'
model = dict(
    backbone=dict(init_cfg=None),
    init_cfg=dict(type='SEPretrained', checkpoint=f'{url}/{file}', graft=True),
)
