# The plain control of faster_rcnn_se_r50.py.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['se_det'])
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='auto'))
