"""Triton kernels for the tail of a block: the equations of `se_det.layers.tail`, on a GPU.

Maps are ``(N, C, H, W)``, contiguous or channels_last (``LAST``); a kernel that reads a map works
on tiles of ``CB`` channels by ``PB`` pixels of one image. Everything else is one float per channel,
or per image and channel, of the type ``ACC``: float32, float64 for maps of float64. Programs of
one launch have no order among them, so whatever one kernel finds is read by the next.

What forward finds stands in ``found``, rows of C: mean, var (in training the unbiased one, for the
running average), 1 / std, then for each image the squeeze ``m - mean``, the gate s, s a, and the
shift s (bias - a mean), then the hidden layers.
"""

import triton
import triton.language as tl


@triton.jit
def _tile(step, channels, pixels, LAST: tl.constexpr, CB: tl.constexpr, PB: tl.constexpr):
    """Channels, pixels, offsets, and what of a tile is in the map."""
    c = tl.program_id(1) * CB + tl.arange(0, CB)
    p = step * PB + tl.arange(0, PB)
    at = p[None, :] * channels + c[:, None] if LAST else c[:, None] * pixels + p[None, :]
    image = tl.program_id(2).to(tl.int64) * channels * pixels
    return c, p, image + at, (c[:, None] < channels) & (p[None, :] < pixels)


@triton.jit
def _in_image(p, sizes, n, width):
    """Which pixels of a map are in its image, not in the padding."""
    rows, columns = tl.load(sizes + 2 * n), tl.load(sizes + 2 * n + 1)
    return ((p // width).to(tl.float32) < rows) & ((p % width).to(tl.float32) < columns)


@triton.jit
def _pixels_of(sizes, n, pixels, width, ACC: tl.constexpr, MASKED: tl.constexpr):
    """How many pixels of a map are in its image."""
    if MASKED:
        rows = tl.minimum(tl.load(sizes + 2 * n), (pixels // width).to(tl.float32))
        count = (rows * tl.minimum(tl.load(sizes + 2 * n + 1), width.to(tl.float32))).to(ACC)
    else:
        count = pixels.to(ACC)
    return count


@triton.jit
def _total(partial, n, c, images, channels, splits, SB: tl.constexpr, ACC: tl.constexpr):
    """The sum of an image's partial sums, for the channels ``c``."""
    total = tl.zeros(c.shape, ACC)
    for start in range(0, splits, SB):
        s = start + tl.arange(0, SB)
        at = (s[:, None].to(tl.int64) * images + n) * channels + c[None, :]
        total += tl.sum(tl.load(partial + at, (s[:, None] < splits) & (c < channels), 0), 0)
    return total


@triton.jit
def moments(
    v, partial, sizes, channels, pixels, width,
    LAST: tl.constexpr, CB: tl.constexpr, PB: tl.constexpr, LOOPS: tl.constexpr,
    ACC: tl.constexpr, TRAINING: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Partial sums of v over the image; in training of v - k over image and map, and squares.

    k is the first pixel of the batch, near enough to the mean that squares do not cancel.
    """
    n, images = tl.program_id(2).to(tl.int64), tl.num_programs(2)
    c = tl.program_id(1) * CB + tl.arange(0, CB)
    k = tl.zeros((CB,), ACC)
    if TRAINING:
        k += tl.load(v + c.to(tl.int64) * (1 if LAST else pixels), c < channels, 0).to(ACC)
        k = tl.where(tl.abs(k) < float('inf'), k, 0)
    of_image, of_map = tl.zeros((CB, PB), ACC), tl.zeros((CB, PB), ACC)
    squares = tl.zeros((CB, PB), ACC)
    for i in range(LOOPS):
        c, p, at, inside = _tile(tl.program_id(0) * LOOPS + i, channels, pixels, LAST, CB, PB)
        value = tl.load(v + at, inside, 0).to(ACC)
        if TRAINING:
            value = tl.where(inside, value - k[:, None], 0)
            squares += value * value
            if MASKED:
                of_map += value
        if MASKED:
            value = tl.where(_in_image(p, sizes, n, width)[None, :], value, 0)
        of_image += value
    row = (tl.program_id(0).to(tl.int64) * images + n) * channels + c
    plane = tl.num_programs(0).to(tl.int64) * images * channels
    tl.store(partial + row, tl.sum(of_image, 1), c < channels)
    if TRAINING:
        tl.store(partial + plane + row, tl.sum(squares, 1), c < channels)
        if MASKED:
            tl.store(partial + 2 * plane + row, tl.sum(of_map, 1), c < channels)


@triton.jit(do_not_specialize=['images', 'pixels', 'width', 'splits'])
def hidden_layer(
    v, partial, found, weight, bias, running_mean, running_var, w1, b1, sizes,
    images, channels, hidden, pixels, width, splits, eps,
    LAST: tl.constexpr, CB: tl.constexpr, HB: tl.constexpr, SB: tl.constexpr,
    ACC: tl.constexpr, TRAINING: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Statistics, squeeze and ``relu(W1 z + b1)``: ``HB`` hidden channels of an image a program."""
    n, h = tl.program_id(0).to(tl.int64), tl.program_id(1) * HB + tl.arange(0, HB)
    first = tl.program_id(1) == 0
    plane = splits.to(tl.int64) * images * channels
    count = _pixels_of(sizes, n, pixels, width, ACC, MASKED)
    total = tl.zeros((HB,), ACC)
    for start in range(0, channels, CB):
        c = start + tl.arange(0, CB)
        ok = c < channels
        m = _total(partial, n, c, images, channels, splits, SB, ACC) / count
        if TRAINING:
            k = tl.load(v + c.to(tl.int64) * (1 if LAST else pixels), ok, 0).to(ACC)
            k = tl.where(tl.abs(k) < float('inf'), k, 0)
            sums, squares = tl.zeros((CB,), ACC), tl.zeros((CB,), ACC)
            of_map = partial + 2 * plane if MASKED else partial
            for i in range(images):
                sums += _total(of_map, i, c, images, channels, splits, SB, ACC)
                squares += _total(partial + plane, i, c, images, channels, splits, SB, ACC)
            values = pixels.to(ACC) * images
            offset = sums / values
            mean, var = k + offset, squares / values - offset * offset
            var = tl.where(var < 0, 0, var)
            centred = m - offset
        else:
            mean = tl.load(running_mean + c, ok, 0).to(ACC)
            var = tl.load(running_var + c, ok, 1).to(ACC)
            centred = m - mean
        inverse_std = 1 / tl.sqrt(var + eps)
        if TRAINING:
            var *= values / (values - 1)
        scale = tl.load(weight + c, ok, 0).to(ACC) * inverse_std
        z = centred * scale + tl.load(bias + c, ok, 0).to(ACC)
        if first:
            tl.store(found + (3 + n) * channels + c, centred, ok)
            if n == 0:
                tl.store(found + c, mean, ok)
                tl.store(found + channels + c, var, ok)
                tl.store(found + 2 * channels + c, inverse_std, ok)
        tile = tl.load(
            w1 + h[:, None] * channels + c[None, :], (h[:, None] < hidden) & ok[None, :], 0
        )
        total += tl.sum(tile.to(ACC) * tl.where(ok, z, 0)[None, :], 1)
    total += tl.load(b1 + h, h < hidden, 0).to(ACC)
    total = tl.where(total < 0, 0, total)  # NaN stays NaN
    tl.store(found + (3 + 4 * images) * channels + n * hidden + h, total, h < hidden)


@triton.jit(do_not_specialize=['images'])
def gate(
    found, weight, bias, w2, b2, images, channels, hidden,
    CB: tl.constexpr, HB: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """``s = sigmoid(W2 hidden + b2)``, and with it ``s norm(v)`` as a scale and a shift."""
    n, c = tl.program_id(0).to(tl.int64), tl.program_id(1) * CB + tl.arange(0, CB)
    ok = c < channels
    logit = tl.load(b2 + c, ok, 0).to(ACC)
    for start in range(0, hidden, HB):
        h = start + tl.arange(0, HB)
        value = tl.load(found + (3 + 4 * images) * channels + n * hidden + h, h < hidden, 0)
        tile = tl.load(
            w2 + c[:, None] * hidden + h[None, :], ok[:, None] & (h[None, :] < hidden), 0
        )
        logit += tl.sum(tile.to(ACC) * value[None, :], 1)
    s = 1 / (1 + tl.exp(-logit))
    scale = tl.load(weight + c, ok, 0).to(ACC) * tl.load(found + 2 * channels + c, ok, 0)
    shift = tl.load(bias + c, ok, 0).to(ACC) - tl.load(found + c, ok, 0) * scale
    tl.store(found + (3 + images + n) * channels + c, s, ok)
    tl.store(found + (3 + 2 * images + n) * channels + c, s * scale, ok)
    tl.store(found + (3 + 3 * images + n) * channels + c, s * shift, ok)


@triton.jit(do_not_specialize=['images'])
def tail(
    v, identity, y, found, images, channels, pixels,
    LAST: tl.constexpr, CB: tl.constexpr, PB: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """``y = relu(identity + s norm(v))``."""
    c, _, at, inside = _tile(tl.program_id(0), channels, pixels, LAST, CB, PB)
    n = tl.program_id(2).to(tl.int64)
    scale = tl.load(found + (3 + 2 * images + n) * channels + c, c < channels, 0)[:, None]
    shift = tl.load(found + (3 + 3 * images + n) * channels + c, c < channels, 0)[:, None]
    value = tl.load(v + at, inside).to(ACC) * scale + shift
    value += tl.load(identity + at, inside).to(ACC)
    value = tl.where(value < 0, 0, value)
    tl.store(y + at, value.to(y.dtype.element_ty), inside)


# Backward. ``back`` has the rows of C that these kernels find: for each image the sums G and P, the
# gradient of the logits, and a of_z / pixels; then offset and slope of a norm in training; then the
# gradients of the hidden layers.


@triton.jit(do_not_specialize=['images'])
def gradient_sums(
    gradient, y, v, found, of_identity, partial, channels, pixels,
    LAST: tl.constexpr, CB: tl.constexpr, PB: tl.constexpr, LOOPS: tl.constexpr,
    ACC: tl.constexpr,
):  # fmt: skip
    """The gradient g of the ReLU's input, and partial sums of g and of g (v - mean)."""
    n, images = tl.program_id(2).to(tl.int64), tl.num_programs(2)
    c = tl.program_id(1) * CB + tl.arange(0, CB)
    mean = tl.load(found + c, c < channels, 0)[:, None]
    sums, products = tl.zeros((CB, PB), ACC), tl.zeros((CB, PB), ACC)
    for i in range(LOOPS):
        c, _, at, inside = _tile(tl.program_id(0) * LOOPS + i, channels, pixels, LAST, CB, PB)
        off = tl.load(y + at, inside, 0) <= 0  # false for NaN
        g = tl.where(off, 0, tl.load(gradient + at, inside, 0))
        tl.store(of_identity + at, g, inside)
        g = g.to(ACC)
        sums += g
        products += g * (tl.load(v + at, inside, 0).to(ACC) - mean)
    row = (tl.program_id(0).to(tl.int64) * images + n) * channels + c
    plane = tl.num_programs(0).to(tl.int64) * images * channels
    tl.store(partial + row, tl.sum(sums, 1), c < channels)
    tl.store(partial + plane + row, tl.sum(products, 1), c < channels)


@triton.jit(do_not_specialize=['images', 'splits'])
def hidden_backward(
    partial, found, back, weight, bias, w2, images, channels, hidden, splits,
    CB: tl.constexpr, HB: tl.constexpr, SB: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """G, P, the gradient of the logits, and from it that of ``HB`` hidden channels of an image."""
    n, h = tl.program_id(0).to(tl.int64), tl.program_id(1) * HB + tl.arange(0, HB)
    plane = splits.to(tl.int64) * images * channels
    total = tl.zeros((HB,), ACC)
    for start in range(0, channels, CB):
        c = start + tl.arange(0, CB)
        ok = c < channels
        sums = _total(partial, n, c, images, channels, splits, SB, ACC)
        products = _total(partial + plane, n, c, images, channels, splits, SB, ACC)
        scale = tl.load(weight + c, ok, 0).to(ACC) * tl.load(found + 2 * channels + c, ok, 0)
        s = tl.load(found + (3 + images + n) * channels + c, ok, 0)
        of_logit = scale * products + tl.load(bias + c, ok, 0).to(ACC) * sums
        of_logit = tl.where(ok, of_logit * s * (1 - s), 0)
        if tl.program_id(1) == 0:
            tl.store(back + n * channels + c, sums, ok)
            tl.store(back + (images + n) * channels + c, products, ok)
            tl.store(back + (2 * images + n) * channels + c, of_logit, ok)
        tile = tl.load(
            w2 + c[:, None] * hidden + h[None, :], ok[:, None] & (h[None, :] < hidden), 0
        )
        total += tl.sum(tile.to(ACC) * of_logit[:, None], 0)
    value = tl.load(found + (3 + 4 * images) * channels + n * hidden + h, h < hidden, 0)
    total = tl.where(value <= 0, 0, total)
    tl.store(back + (2 + 4 * images) * channels + n * hidden + h, total, h < hidden)


@triton.jit(do_not_specialize=['images', 'pixels', 'width'])
def parameters_backward(
    found, back, weight, bias, w1, sizes,
    of_weight, of_bias, of_w1, of_b1, of_w2, of_b2,
    images, channels, hidden, pixels, width,
    CB: tl.constexpr, HB: tl.constexpr, ACC: tl.constexpr, TRAINING: tl.constexpr,
    MASKED: tl.constexpr,
):  # fmt: skip
    """Gradients of all parameters, and what the gradient of v has beside ``s a g``."""
    c = tl.program_id(0) * CB + tl.arange(0, CB)
    h = tl.program_id(1) * HB + tl.arange(0, HB)
    ok, in_hidden = c < channels, h < hidden
    inverse_std = tl.load(found + 2 * channels + c, ok, 0)
    scale = tl.load(weight + c, ok, 0).to(ACC) * inverse_std
    beta = tl.load(bias + c, ok, 0).to(ACC)
    sum_w1, sum_w2 = tl.zeros((HB, CB), ACC), tl.zeros((HB, CB), ACC)
    sum_b1, sum_b2 = tl.zeros((HB,), ACC), tl.zeros((CB,), ACC)
    hiddens, of_hiddens = found + (3 + 4 * images) * channels, back + (2 + 4 * images) * channels
    for n in range(images):
        of_hidden = tl.load(of_hiddens + n * hidden + h, in_hidden, 0)
        of_logit = tl.load(back + (2 * images + n) * channels + c, ok, 0)
        z = tl.load(found + (3 + n) * channels + c, ok, 0) * scale + beta
        value = tl.load(hiddens + n * hidden + h, in_hidden, 0)
        sum_w1 += of_hidden[:, None] * z[None, :]
        sum_w2 += value[:, None] * of_logit[None, :]
        sum_b1 += of_hidden
        sum_b2 += of_logit
    both = in_hidden[:, None] & ok[None, :]
    kind = of_w1.dtype.element_ty
    tl.store(of_w1 + h[:, None] * channels + c[None, :], sum_w1.to(kind), both)
    tl.store(of_w2 + c[None, :] * hidden + h[:, None], sum_w2.to(kind), both)
    if tl.program_id(0) == 0:
        tl.store(of_b1 + h, sum_b1.to(kind), in_hidden)
    if tl.program_id(1) == 0:
        tl.store(of_b2 + c, sum_b2.to(kind), ok)
        sum_bias, sum_weight = tl.zeros((CB,), ACC), tl.zeros((CB,), ACC)
        for n in range(images):
            of_z = tl.zeros((CB,), ACC)
            for start in range(0, hidden, HB):
                i = start + tl.arange(0, HB)
                tile = tl.load(
                    w1 + i[:, None] * channels + c[None, :], (i[:, None] < hidden) & ok[None, :], 0
                )
                of_hidden = tl.load(of_hiddens + n * hidden + i, i < hidden, 0)
                of_z += tl.sum(tile.to(ACC) * of_hidden[:, None], 0)
            s = tl.load(found + (3 + images + n) * channels + c, ok, 0)
            sum_bias += s * tl.load(back + n * channels + c, ok, 0) + of_z
            sum_weight += s * tl.load(back + (images + n) * channels + c, ok, 0)
            sum_weight += of_z * tl.load(found + (3 + n) * channels + c, ok, 0)
            count = _pixels_of(sizes, n, pixels, width, ACC, MASKED)
            tl.store(back + (3 * images + n) * channels + c, scale * of_z / count, ok)
        sum_weight *= inverse_std
        tl.store(of_weight + c, sum_weight.to(of_weight.dtype.element_ty), ok)
        tl.store(of_bias + c, sum_bias.to(of_bias.dtype.element_ty), ok)
        if TRAINING:
            values = pixels.to(ACC) * images
            tl.store(back + 4 * images * channels + c, -scale * sum_bias / values, ok)
            slope = -scale * inverse_std * sum_weight / values
            tl.store(back + (4 * images + 1) * channels + c, slope, ok)


@triton.jit(do_not_specialize=['images'])
def tail_backward(
    of_identity, v, of_v, found, back, sizes, images, channels, pixels, width,
    LAST: tl.constexpr, CB: tl.constexpr, PB: tl.constexpr, ACC: tl.constexpr,
    TRAINING: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The gradient of v."""
    c, p, at, inside = _tile(tl.program_id(0), channels, pixels, LAST, CB, PB)
    n, ok = tl.program_id(2).to(tl.int64), c < channels
    scale = tl.load(found + (3 + 2 * images + n) * channels + c, ok, 0)[:, None]
    of_mean = tl.load(back + (3 * images + n) * channels + c, ok, 0)[:, None]
    value = tl.load(of_identity + at, inside, 0).to(ACC) * scale
    if MASKED:
        value += tl.where(_in_image(p, sizes, n, width)[None, :], of_mean, 0)
    else:
        value += of_mean
    if TRAINING:
        mean = tl.load(found + c, ok, 0)[:, None]
        slope = tl.load(back + (4 * images + 1) * channels + c, ok, 0)[:, None]
        value += tl.load(back + 4 * images * channels + c, ok, 0)[:, None]
        value += (tl.load(v + at, inside, 0).to(ACC) - mean) * slope
    tl.store(of_v + at, value.to(of_v.dtype.element_ty), inside)
