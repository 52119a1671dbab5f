"""SE backbones beside those of other libraries, for `benchmark.py`."""
