"""Check a data set before training: annotations, images, and whether the config fits them."""
