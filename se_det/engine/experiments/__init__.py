"""Experiments: detectors that differ in one thing, trained on the same seeds and compared."""
