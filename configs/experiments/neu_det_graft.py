# C. The graft study: a plain detector is trained first, twice as long as in B. From it go on, with
# equal schedules, the plain detector, one with SE inserted (gates of 1/2, which is what users do)
# and one with SE grafted, which starts as the plain one.
_base_ = 'neu_det_scratch.py'

_plain = 'configs/faster_rcnn_r50_shapes.py'
_start, _goes_on = (
    {
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'param_scheduler.1.T_max': epochs,
        'param_scheduler.1.end': epochs,
        'optim_wrapper.optimizer.lr': lr,
    }
    for epochs, lr in ((6, 1e-3), (2, 3e-4))
)
start = dict(config=_plain, cfg_options=_start, seeds=[0])
arms = dict(
    _delete_=True,
    plain=dict(config=_plain, cfg_options=_goes_on),
    se_inserted=dict(config=_plain, se=True, fresh_se=True, cfg_options=_goes_on),
    se_grafted=dict(config=_plain, se=True, cfg_options=_goes_on),
)
comparisons = [('plain', 'se_inserted'), ('plain', 'se_grafted'), ('se_inserted', 'se_grafted')]
