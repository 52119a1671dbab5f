"""Build, train and test MMDetection's configs and their SE twins, for `sweep_zoo.py`."""
