"""Exact resume: a training that was killed and resumed ends with the weights of one that was not.

`random_numbers` has the states of the generators, `data_order` makes each sample depend on its
place in the training alone, `train_loops` start where a checkpoint ends, `training_state` saves and
restores what else the weights depend on, `checkpoint_files` writes and finds files that are whole,
`interruption` saves when the process is asked to end.
"""
