"""Where the images of a padded batch end, and means without the padding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from se_det.layers import Padding, SqueezeExcitation, padding_of, within_batch
from se_det.layers.padding import channel_maxima, channel_means, image_sizes

LENGTH = st.integers(1, 9)


def _pad(images, value=0):
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    return torch.stack(
        [
            F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]), value=value)
            for image in images
        ]
    )


def _image(height, width):
    """Random, with pixels, rows and columns of zeros inside, and single zeros in its last ones."""
    image = torch.randn(3, height, width)
    image[:, torch.rand(height, width) < 0.3] = 0
    image[:, : height - 1 : 2] = 0
    image[:, :, : width - 1 : 2] = 0
    image[1, -1, -1] = 0.5
    return image


@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    more=st.tuples(st.integers(1, 50), st.integers(0, 50)),
    stride=st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
)
def test_sizes_in_a_map(size, more, stride):
    x = F.pad(torch.ones(1, 1, *size), (0, more[1], 0, more[0]))
    expected = [-(-edge // stride) for edge in size]
    assert _sizes_in_a_map(x, stride) == [expected]


@pytest.mark.parametrize('stride', [3, 6, 12, 24])
def test_sizes_in_a_map_of_another_stride(stride):
    x = F.pad(torch.ones(1, 1, 100, 150), (0, 138, 0, 92))
    assert _sizes_in_a_map(x, stride) == [[-(-100 // stride), -(-150 // stride)]]


def _sizes_in_a_map(x, stride):
    pool = torch.nn.MaxPool2d(stride, ceil_mode=True)
    return within_batch(lambda x: padding_of(pool(x)).sizes, x).tolist()


@given(
    sizes=st.lists(st.tuples(LENGTH, LENGTH), min_size=1, max_size=4),
    more=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
def test_sizes_are_those_before_padding(sizes, more, seed):
    torch.manual_seed(seed)
    x = F.pad(_pad([_image(*size) for size in sizes]), (0, more[1], 0, more[0]))
    found = image_sizes(x)
    if all(size == x.shape[2:] for size in sizes):
        assert found is None
    else:
        assert found.tolist() == [list(size) for size in sizes]


@pytest.mark.parametrize('value', [0.5, float('nan')])
def test_padding_that_is_not_zero_is_of_the_image(value):
    assert image_sizes(_pad([torch.randn(3, 6, 7), torch.randn(3, 4, 9)], value)) is None


def test_an_image_of_zeros_is_not_padded():
    x = torch.zeros(2, 3, 6, 7)
    assert image_sizes(x).tolist() == [[6, 7], [6, 7]]
    x[0, :, :4] = 1
    assert image_sizes(x).tolist() == [[4, 7], [6, 7]]


def test_meta_and_empty_batches_are_not_padded():
    assert image_sizes(torch.empty(2, 3, 6, 7, device='meta')) is None
    assert image_sizes(torch.empty(0, 3, 6, 7)) is None


def test_sizes_under_vmap():
    x = _pad([torch.randn(3, 6, 7), torch.randn(3, 4, 9)])
    found = torch.func.vmap(lambda image: image_sizes(image[None])[0])(x)
    assert found.tolist() == [[6, 7], [4, 9]]


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_means_and_maxima_are_those_of_the_images_alone(dtype, channels_last):
    torch.manual_seed(0)
    images = [torch.randn(5, *size).to(dtype) for size in [(6, 7), (4, 9), (1, 1)]]
    x = _pad(images, value=3)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    padding = Padding(torch.tensor([image.shape[1:] for image in images]), x)
    wanted = torch.promote_types(dtype, torch.float32)
    expected = torch.stack([image.to(wanted).mean((1, 2), True) for image in images])
    torch.testing.assert_close(channel_means(x, padding, wanted), expected)
    expected = torch.stack([image.amax((1, 2), True) for image in images])
    assert torch.equal(channel_maxima(x, padding), expected)


def test_a_size_beyond_the_map_is_the_map():
    """A pool without padding leaves out the last pixels of maps of odd sizes."""
    x = torch.randn(1, 5, 3, 4)
    padding = Padding(torch.tensor([[4, 5]]), x)
    assert not padding.mask.any() and padding.pixels.item() == 12
    torch.testing.assert_close(channel_means(x, padding, x.dtype), x.mean((2, 3), keepdim=True))


def test_the_padding_is_found_once_for_each_size_of_a_map():
    x = _pad([torch.randn(3, 16, 14), torch.randn(3, 8, 18)])
    found = []

    def forward(x):
        maps = x, x[..., ::2, ::2], x[..., ::2, ::2] + 1, x * 2
        found.extend(padding_of(map_) for map_ in maps)
        return x

    within_batch(forward, x)
    whole, half, again, double = found
    assert whole is double and half is again
    assert whole.sizes.tolist() == [[16, 14], [8, 18]]
    assert half.sizes.tolist() == [[8, 7], [4, 9]]
    assert half.pixels.flatten(1).tolist() == [[56], [36]]
    within_batch(forward, x)  # another batch
    assert found[4] is not whole


def test_padding_is_known_within_a_batch_alone():
    padded, whole = _pad([torch.randn(3, 6, 7), torch.randn(3, 4, 9)]), torch.randn(2, 3, 6, 9)
    found = []

    def forward(x):
        found.append(padding_of(x))
        if x is padded:
            within_batch(forward, whole)
            found.append(padding_of(x))
        return x

    within_batch(forward, padded)
    assert found[1] is None and found[2] is found[0] is not None
    assert padding_of(padded) is None
    with pytest.raises(ZeroDivisionError):
        within_batch(lambda x: 1 / 0, padded)
    assert padding_of(padded) is None


def test_the_gate_of_a_padded_image_is_that_of_the_image():
    torch.manual_seed(0)
    se = SqueezeExcitation(8, 2)
    images = [torch.randn(8, 6, 7), torch.randn(8, 4, 9)]
    x = _pad(images, value=3)
    gates = se.gate(x, Padding(torch.tensor([[6, 7], [4, 9]]), x))
    for image, gate in zip(images, gates, strict=True):
        torch.testing.assert_close(gate, se.gate(image[None])[0])
