"""After training: a detector in Python, exported to ONNX, and what it finds."""
