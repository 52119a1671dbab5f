import pytest


@pytest.fixture
def kernels():
    """The Triton kernels; without a GPU, Triton's interpreter runs them."""
    pytest.importorskip('triton', reason='not run: the kernels, as triton is not installed')
    from se_det.layers.kernels import feature_maps

    return feature_maps
