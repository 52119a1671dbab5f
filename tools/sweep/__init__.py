"""MMDetection's configs and their SE twins, built and tried: what `tools/sweep_zoo.py` runs."""
