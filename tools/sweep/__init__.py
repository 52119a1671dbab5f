"""Build, train and test MMDetection's configs and their SE twins, for `tools/sweep_zoo.py`."""
