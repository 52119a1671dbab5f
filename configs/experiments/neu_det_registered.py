# Registered: plain against SE on steel defects, six epochs from scratch, last norms of 1.
#
# The arms are plain_6_epochs and se_6_epochs of neu_det_gate_start with other seeds. What is fixed
# before the first run:
# - the question: is AP of `se` above or below that of `plain`, as the mean over seeds?
# - twelve seeds a side that were never trained before, 7 to 18; earlier seeds are left out.
# - one endpoint, AP; all other metrics are descriptive.
# - one look, after all 24 runs. Its answer is the 95 % interval of tools/compare_runs.py, over
#   images and seeds, as of the commit of this file. Differences paired by seed are shown beside it.
# - no run is left out. One that is stopped goes on with the same seed.
# - power: 0.90 for a true difference of 1.0 AP, 0.62 for 0.7.
_base_ = 'neu_det_scratch.py'

_epochs = 6
cfg_options = dict(
    train_cfg=dict(max_epochs=_epochs, val_interval=_epochs),
    param_scheduler={'1': dict(T_max=_epochs, end=_epochs)},
)
seeds = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]
