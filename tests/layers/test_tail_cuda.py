"""The Triton kernels of the tail against float64 autograd of the layers.

They run on a GPU if there is one, else on a CPU in Triton's interpreter.
"""

import copy
import dataclasses
import importlib.util

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn

from se_det.layers import Padding, SqueezeExcitation

pytest.importorskip('triton')

import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.jit import JITFunction

from se_det.layers import tail_cuda, tail_kernels

pytestmark = pytest.mark.filterwarnings('ignore:invalid value:RuntimeWarning')
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
ERRORS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}


@pytest.fixture(scope='module', autouse=True)
def kernels():
    """Without a GPU copies of the kernels that are interpreted, in this file alone."""
    if DEVICE == 'cuda':
        yield
        return
    spec = importlib.util.spec_from_file_location('interpreted_kernels', tail_kernels.__file__)
    interpreted = importlib.util.module_from_spec(spec)
    with triton.knobs.runtime.scope(), pytest.MonkeyPatch.context() as patch:
        triton.knobs.runtime.interpret = True
        spec.loader.exec_module(interpreted)
        patch.setattr(tail_cuda, 'kernels', interpreted)
        # Functions of Triton, such as tl.sum, are of the kind that was wanted at its import.
        patch.setattr(
            JITFunction,
            '__call__',
            lambda function, *args, **kwargs: interpreter.InterpretedFunction(function.fn)(
                *args, **kwargs
            ),
        )
        builder = interpreter.interpreter_builder  # without its slow checks of integers
        options = dataclasses.replace(builder.options, sanitize_overflow=False)
        patch.setattr(builder, 'options', options)
        language = interpreter._patch_lang(tl.sum.fn)  # these functions leave it patched
        yield
        language.restore()


@pytest.fixture(autouse=True)
def plans():
    yield
    tail_cuda._plans.clear()


def _sliced(x):
    return torch.stack([x, x], -1).flatten(3)[..., ::2]


LAYOUTS = {
    'contiguous': lambda x: x,
    'channels_last': lambda x: x.contiguous(memory_format=torch.channels_last),
    'transposed': lambda x: x.mT.contiguous().mT,
    'sliced': _sliced,
    'offset': lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
}


def _layers(channels, reduction, training, dtype):
    norm, se = nn.BatchNorm2d(channels), SqueezeExcitation(channels, reduction)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return norm.to(DEVICE, dtype).train(training), se.to(DEVICE, dtype)


def _by_layers(v, identity, norm, se, padding):
    return (identity + se(norm(v), padding)).relu()


def _run(tail, dtype, v, identity, gradient, norm, se, padding):
    """The output, running statistics and gradients; in another precision if ``dtype`` is given."""
    norm, se = copy.deepcopy((norm, se))
    v, identity = v.detach(), identity.detach()
    if dtype:
        norm, se = norm.to(dtype), se.to(dtype)
        v, identity, gradient = (x.to(dtype) for x in (v, identity, gradient))
    inputs = dict(v=v.requires_grad_(), identity=identity.requires_grad_())
    y = tail(v, identity, norm, se, padding)
    inputs |= dict(norm.named_parameters(prefix='norm'))
    inputs |= dict(se.named_parameters(prefix='se'))
    gradients = torch.autograd.grad(y, [*inputs.values()], gradient)
    found = dict(y=y, running_mean=norm.running_mean, running_var=norm.running_var)
    return {**found, **dict(zip(inputs, gradients, strict=True))}


def _assert_close(
    dtype, size, reduction, training, padded, layouts, expanded, half_weights, tile, loops, seed
):
    batch, channels, height, width = size
    assume(not training or batch * height * width > 2)  # else v's gradient is 0 but for rounding
    torch.manual_seed(seed)
    v = torch.randn(size) + 3 * torch.randn(channels, 1, 1)
    v, identity, gradient = (
        LAYOUTS[layout](x.to(DEVICE, dtype))
        for layout, x in zip(layouts, (v, torch.randn(size), torch.randn(size)), strict=True)
    )
    if expanded:  # as the gradient of a sum
        gradient = gradient[:1, :, :1, :1].expand(size)
    exact = dtype.itemsize >= 4
    layers = _layers(channels, reduction, training, dtype if exact or half_weights else torch.float)
    sizes = torch.stack([torch.randint(1, edge + 2, (batch,)) for edge in (height, width)], 1)
    padding = Padding(sizes.to(DEVICE), v) if padded else None
    inputs = v, identity, gradient, *layers, padding
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == 'cpu':  # programs of any size
            patch.setattr(tail_cuda, 'TILE', tile)
            patch.setattr(tail_cuda, 'LOOPS', loops)
        tail_cuda._plans.clear()
        results = _run(tail_cuda.cuda_tail, None, *inputs)
    in_float32 = _run(_by_layers, torch.float32, *inputs)
    for name, expected in _run(_by_layers, torch.float64, *inputs).items():
        found = results[name]
        assert found.dtype is (dtype if name in ('y', 'v', 'identity') else layers[0].weight.dtype)

        def error(found, expected=expected):
            return (found.double() - expected).norm() / expected.norm().clamp(min=1e-30)

        bound = ERRORS[dtype]
        if '.' in name and dtype is torch.float32:  # sums over the batch, in which terms cancel
            bound = max(5e-6, 2 * error(in_float32[name]))
        assert error(found) <= bound, (name, error(found))


SIZES = st.one_of(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from([1, 3, 7, 8, 16, 33, 65]),
        st.integers(1, 9),
        st.integers(1, 9),
    ),
    st.sampled_from([(4, 24, 1, 1), (1, 6, 23, 29), (2, 40, 20, 27)]),
)
CASES = dict(
    dtype=st.sampled_from([*ERRORS]),
    size=SIZES,
    reduction=st.sampled_from([1, 2, 16]),
    training=st.booleans(),
    padded=st.booleans(),
    layouts=st.tuples(*[st.sampled_from([*LAYOUTS])] * 3),
    expanded=st.booleans(),
    half_weights=st.booleans(),
    tile=st.sampled_from([2**18, 2**18, 2048]),
    loops=st.sampled_from([1, 8]),
    seed=st.integers(0, 99),
)
WIDE = dict(
    dtype=torch.float32,
    size=(1, 2048, 3, 2),
    reduction=16,
    padded=True,
    layouts=('channels_last', 'channels_last', 'contiguous'),
    expanded=False,
    half_weights=False,
    tile=2**18,
    loops=8,
    seed=0,
)


@given(**CASES)
@example(training=True, **WIDE)
@settings(max_examples=20)
def test_kernels_compute_the_layers(**case):
    _assert_close(**case)


@pytest.mark.long
@given(**CASES)
@settings(max_examples=600)
def test_kernels_compute_the_layers_in_more_cases(**case):
    _assert_close(**case)


@pytest.mark.parametrize(
    ('training', 'channels_last'), [(False, True), (True, False)], ids=['eval', 'train']
)
@pytest.mark.parametrize('padded', [False, True], ids=['whole', 'padded'])
@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('where', ['v', 'identity', 'padding'])
def test_nan_and_infinities_are_those_of_the_layers(
    where, value, padded, training, channels_last, monkeypatch
):
    torch.manual_seed(0)
    v, identity, gradient = (torch.randn(2, 8, 4, 5, device=DEVICE) for _ in range(3))
    pixel = (1, 2, 3, 4) if where == 'padding' else (1, 2, 0, 0)
    (identity if where == 'identity' else v)[pixel] = value
    if channels_last:
        v = v.contiguous(memory_format=torch.channels_last)
    sizes = torch.tensor([[4, 5], [3, 2]], device=DEVICE)
    padding = Padding(sizes, v) if padded else None
    inputs = v, identity, gradient, *_layers(8, 2, training, torch.float32), padding
    monkeypatch.setattr(tail_cuda, 'TILE', 2**18 if DEVICE == 'cpu' else tail_cuda.TILE)
    results = _run(tail_cuda.cuda_tail, None, *inputs)
    for name, expected in _run(_by_layers, torch.float32, *inputs).items():
        pair = results[name], expected
        if name not in ('y', 'running_mean', 'running_var'):  # inf - inf, in another order
            pair = (torch.where(x.isinf(), torch.nan, x) for x in pair)
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5, equal_nan=True, msg=name)


def _arguments(training, padded):
    """What `cuda_tail` takes."""
    torch.manual_seed(0)
    v, identity = (torch.randn(2, 8, 4, 5, device=DEVICE, requires_grad=True) for _ in range(2))
    sizes = torch.tensor([[4, 5], [3, 2]], device=DEVICE)
    padding = Padding(sizes, v) if padded else None
    return v, identity, *_layers(8, 2, training, torch.float32), padding


def _arguments_of_operator(v, identity, norm, se, padding):
    sizes = None if padding is None else padding.sizes
    parameters = *norm.parameters(), *se.parameters()
    return v, identity, sizes, *parameters, *list(norm.buffers())[:2], norm.training, norm.eps


@pytest.mark.parametrize('padded', [False, True], ids=['whole', 'padded'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_the_operator_for_graphs_computes_the_same(training, padded):
    v, identity, norm, se, padding = _arguments(training, padded)
    outputs = [
        tail_cuda.tail_op(*_arguments_of_operator(v, identity, norm, se, padding))[0],
        tail_cuda.cuda_tail(v, identity, norm, se, padding),
    ]
    assert torch.equal(*outputs)
    inputs = v, identity, *norm.parameters(), *se.parameters()
    gradients = [torch.autograd.grad(y.square().sum(), inputs) for y in outputs]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize('padded', [False, True], ids=['whole', 'padded'])
@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
def test_the_operator_is_registered_as_torch_wants_it(training, padded):
    tests = ['test_schema', 'test_autograd_registration']
    if DEVICE == 'cuda':  # interpreted kernels cannot be traced
        tests += ['test_faketensor', 'test_aot_dispatch_dynamic']
    arguments = _arguments_of_operator(*_arguments(training, padded))
    torch.library.opcheck(tail_cuda.tail_op, arguments, test_utils=tests)


class _Changed:
    """A kernel with something done after each launch."""

    def __init__(self, kernel, then):
        self.kernel, self.then = kernel, then

    def __getitem__(self, grid):
        def launch(*arguments, **constants):
            self.kernel[grid](*arguments, **constants)
            self.then(*arguments)

        return launch


def test_the_trial_of_the_kernels(monkeypatch):
    monkeypatch.setattr(tail_cuda._Plan, 'calls_compiled', True)
    device = torch.device(DEVICE)
    assert tail_cuda.failure_of_kernels(device) is None
    with torch.no_grad():
        assert tail_cuda.failure_of_kernels(device) is None
    for name, index in (('tail', 2), ('tail_backward', 2), ('parameters_backward', 8)):
        kernel = getattr(tail_cuda.kernels, name)
        changed = _Changed(kernel, lambda *arguments, index=index: arguments[index].add_(1))
        with monkeypatch.context() as patch:
            patch.setattr(tail_cuda.kernels, name, changed)
            failure = tail_cuda.failure_of_kernels(device)
        assert failure == 'the kernels compute something else'

    def fail(*arguments):
        raise RuntimeError('no registers left\nand more')

    monkeypatch.setattr(tail_cuda.kernels, 'gate', _Changed(tail_cuda.kernels.gate, fail))
    assert tail_cuda.failure_of_kernels(device) == 'RuntimeError: no registers left'
    assert not tail_cuda._plans


def test_kernels_are_launched_by_triton_where_compiled_ones_cannot_be_called(monkeypatch):
    launch = tail_cuda._Plan.launch

    def of_another_triton(plan, *arguments):
        if plan._keeps_compiled:
            raise TypeError('run() takes 12 positional arguments')
        launch(plan, *arguments)

    monkeypatch.setattr(tail_cuda._Plan, 'calls_compiled', True)
    monkeypatch.setattr(tail_cuda._Plan, 'launch', of_another_triton)
    assert tail_cuda.failure_of_kernels(torch.device(DEVICE)) is None
    assert not tail_cuda._Plan.calls_compiled
