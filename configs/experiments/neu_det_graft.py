# C. The graft study: a plain detector is trained first, as in B. From it go on, with equal
# schedules, the plain detector, one with SE inserted (gates of 1/2, which is what users do) and one
# with SE grafted, which starts as the plain one.
_base_ = 'neu_det_scratch.py'

_plain = 'configs/faster_rcnn_r50_shapes.py'
_epochs = 3
_schedule = {
    'train_cfg.max_epochs': _epochs,
    'train_cfg.val_interval': _epochs,
    'param_scheduler.1.T_max': _epochs,
    'param_scheduler.1.end': _epochs,
    'optim_wrapper.optimizer.lr': 3e-4,
}
start = dict(config=_plain, seeds=[0])
arms = dict(
    _delete_=True,
    plain=dict(config=_plain, cfg_options=_schedule),
    se_inserted=dict(config=_plain, se=True, fresh_se=True, cfg_options=_schedule),
    se_grafted=dict(config=_plain, se=True, cfg_options=_schedule),
)
comparisons = [('plain', 'se_inserted'), ('plain', 'se_grafted'), ('se_inserted', 'se_grafted')]
