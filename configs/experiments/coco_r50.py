# Plain against SE on COCO 2017, 1x, three seeds an arm. With 8 GPUs:
# tools/run_experiment.py configs/experiments/coco_r50.py --gpus-per-run 8
arms = dict(
    plain=dict(config='configs/faster_rcnn_r50.py'),
    se=dict(config='configs/faster_rcnn_se_r50.py'),
)
seeds = 3
keep_checkpoints = True
