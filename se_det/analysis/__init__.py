"""Measures and pictures of models, without training them."""
