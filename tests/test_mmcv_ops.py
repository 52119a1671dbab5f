"""The operators that stand in for mmcv's compiled extension, called the way mmdet calls them."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mmcv._ext
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv import ops
from mmengine.model import revert_sync_batchnorm
from torch.autograd import gradcheck

from se_det import mmcv_ops

if sys.modules['mmcv._ext'] is not mmcv_ops:
    pytest.skip('not run: mmcv has its own compiled operators here', allow_module_level=True)

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
ON_EACH_DEVICE = pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=NO_CUDA)])

# --- As mmcv 2.1.0's compiled CPU operators: their results, and gradients of the sum of squares ---


@pytest.fixture
def golden(shared):
    """Give the recorded arrays of a case."""

    def load(case, device='cpu'):
        with np.load(shared / 'mmcv_ops_golden.npz') as file:
            names = [name for name in file.files if name.startswith(f'{case}/')]
            arrays = {name.split('/')[1]: torch.from_numpy(file[name]) for name in names}
        return SimpleNamespace(**{name: array.to(device) for name, array in arrays.items()})

    return load


def assert_close(actual, recorded):
    """Assert equality to 1/100,000 of the largest number: float32 sums in some other order."""
    tolerance = 1e-5 * recorded.abs().max().item()
    torch.testing.assert_close(actual, recorded, rtol=1e-5, atol=tolerance)


def assert_results_and_gradients(result, recorded, inputs, recorded_gradients):
    assert_close(result, recorded)
    gradients = torch.autograd.grad(result.square().sum(), inputs)
    for actual, expected in zip(gradients, recorded_gradients, strict=True):
        assert_close(actual, expected)


SUPPRESSIONS = {
    'nms_off0': lambda case: ops.nms(case.boxes, case.scores, 0.5),
    'nms_off1': lambda case: ops.nms(case.boxes, case.scores, 0.5, offset=1),
    'nms_thr': lambda case: ops.nms(case.boxes, case.scores, 0.5, score_threshold=0.3, max_num=20),
    'soft_naive': lambda case: ops.soft_nms(case.boxes, case.scores, method='naive'),
    'soft_linear': lambda case: ops.soft_nms(case.boxes, case.scores, method='linear'),
    'soft_gaussian': lambda case: ops.soft_nms(case.boxes, case.scores, method='gaussian'),
}


@ON_EACH_DEVICE
@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppression_as_recorded(golden, name, device):
    case = golden(name, device)
    dets, keep = SUPPRESSIONS[name](case)
    assert keep.tolist() == case.keep.tolist()
    assert_close(dets, case.dets)


@pytest.mark.parametrize('split_thr', [10000, 100], ids=['at once', 'class by class'])
def test_batched_nms_as_recorded(golden, split_thr):
    case = golden('batched')
    nms_cfg = {'type': 'nms', 'iou_threshold': 0.4, 'split_thr': split_thr}
    dets, keep = ops.batched_nms(case.boxes, case.scores, case.idx, nms_cfg)
    assert keep.tolist() == case.keep.tolist()
    assert_close(dets, case.dets)


def test_nms_match_as_recorded(golden):
    case = golden('nms_match')
    groups = ops.nms_match(torch.cat([case.boxes, case.scores[:, None]], 1), 0.5)
    assert len(groups) == case.n
    assert [group[0].item() for group in groups] == case.first.tolist()
    assert [len(group) for group in groups] == case.sizes.tolist()


@pytest.mark.parametrize('mode', ['iou', 'iof'])
def test_bbox_overlaps_as_recorded(golden, mode):
    case = golden(f'ov_{mode}')
    assert_close(ops.bbox_overlaps(case.a, case.b, mode), case.o)


@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_as_recorded(golden, aligned, sampling_ratio):
    case = golden(f'roi_align_{aligned}_{sampling_ratio}')
    layer = ops.RoIAlign(7, spatial_scale=1 / 8, sampling_ratio=sampling_ratio, aligned=aligned)
    result = layer(case.x.requires_grad_(), case.rois)
    assert_results_and_gradients(result, case.y, [case.x], [case.gx])


def test_deform_conv2d_as_recorded(golden):
    case = golden('deform')
    inputs = [t.requires_grad_() for t in (case.x, case.off, case.w)]
    stride, padding, dilation, groups, deform_groups = 2, 1, 1, 2, 2
    result = ops.deform_conv2d(*inputs, stride, padding, dilation, groups, deform_groups)
    assert_results_and_gradients(result, case.y, inputs, [case.gx, case.go, case.gw])


@ON_EACH_DEVICE
def test_modulated_deform_conv2d_as_recorded(golden, device):
    case = golden('mdeform', device)
    inputs = [t.requires_grad_() for t in (case.x, case.off, case.m, case.w, case.b)]
    stride, padding = 1, 1
    result = ops.modulated_deform_conv2d(*inputs, stride, padding)
    gradients = [case.gx, case.go, case.gm, case.gw, case.gb]
    assert_results_and_gradients(result, case.y, inputs, gradients)


@pytest.mark.parametrize('side', ['top', 'bottom', 'left', 'right'])
def test_corner_pool_as_recorded(golden, side):
    case = golden(f'corner_{side}')
    result = ops.CornerPool(side)(case.x.requires_grad_())
    assert_results_and_gradients(result, case.y, [case.x], [case.gx])


def test_multi_scale_deformable_attention_as_recorded(golden):
    case = golden('msda')
    attend = ops.multi_scale_deform_attn.multi_scale_deformable_attn_pytorch
    assert_close(attend(case.v, case.sh, case.l, case.a), case.y)


# --- As plain loops, on small integer boxes: many without area, or at exactly the threshold ---

SPANS = st.tuples(st.integers(0, 10), st.integers(0, 10)).map(sorted)
BOXES = st.tuples(SPANS, SPANS).map(lambda xy: [xy[0][0], xy[1][0], xy[0][1], xy[1][1]])
SCORES = st.floats(0.125, 1, width=32)
SCORED_BOXES = st.lists(st.tuples(BOXES, SCORES), max_size=12, unique_by=lambda pair: pair[1])
THRESHOLDS = st.sampled_from([0.1, 0.3, 0.5, 0.7])
OFFSETS = st.sampled_from([0, 1])
few_examples = settings(max_examples=100, deadline=None, derandomize=True)


def as_arrays(scored_boxes):
    boxes, scores = zip(*scored_boxes, strict=True) if scored_boxes else ((), ())
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)


def overlap(first, second, offset, mode='iou'):
    """IoU of two boxes, or intersection over the area of the first, in float32; NaN for 0 / 0."""
    left, top = np.maximum(first[:2], second[:2])
    right, bottom = np.minimum(first[2:], second[2:])
    both = max(right - left + offset, 0) * max(bottom - top + offset, 0)
    areas = [np.prod(box[2:] - box[:2] + offset) for box in (first, second)]
    with np.errstate(invalid='ignore'):
        return np.float32(both) / np.float32(areas[0] if mode == 'iof' else sum(areas) - both)


@few_examples
@given(SCORED_BOXES, THRESHOLDS, OFFSETS)
def test_nms_as_a_loop(scored_boxes, threshold, offset):
    boxes, scores = as_arrays(scored_boxes)
    expected = []
    for box in np.argsort(-scores):
        if not any(overlap(boxes[i], boxes[box], offset) > np.float32(threshold) for i in expected):
            expected.append(box)
    dets, keep = ops.nms(boxes, scores, threshold, offset)
    assert keep.tolist() == expected
    np.testing.assert_array_equal(dets, np.c_[boxes, scores][expected])


@few_examples
@given(SCORED_BOXES, THRESHOLDS)
def test_nms_match_as_a_loop(scored_boxes, threshold):
    boxes, scores = as_arrays(scored_boxes)
    left, expected = list(np.argsort(-scores)), []
    while left:
        best = left.pop(0)
        joins = [i for i in left if overlap(boxes[best], boxes[i], 0) >= np.float32(threshold)]
        left = [i for i in left if i not in joins]
        expected.append([best, *joins])
    groups = ops.nms_match(np.c_[boxes, scores], threshold)
    assert [group.tolist() for group in groups] == expected


@few_examples
@given(SCORED_BOXES, THRESHOLDS, OFFSETS, st.sampled_from(['naive', 'linear', 'gaussian']))
def test_soft_nms_as_a_loop(scored_boxes, threshold, offset, method):
    boxes, scores = as_arrays(scored_boxes)
    sigma, min_score = 0.4, 0.1
    left, expected, new_scores = list(range(len(boxes))), [], scores.copy()
    while left:
        best = max(left, key=new_scores.__getitem__)
        left.remove(best)
        expected.append(best)
        for i in left:
            iou = overlap(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                new_scores[i] *= np.exp(-(np.nan_to_num(iou) ** 2) / sigma)
            elif iou >= np.float32(threshold):
                new_scores[i] *= 1 - iou if method == 'linear' else 0
        left = [i for i in left if new_scores[i] >= min_score]
    dets, keep = ops.soft_nms(boxes, scores, threshold, sigma, min_score, method, offset)
    assert keep.tolist() == expected
    np.testing.assert_allclose(dets, np.c_[boxes, new_scores][expected], rtol=1e-6)
    assert scores.tolist() == [score for _, score in scored_boxes]  # the caller's are not changed


@few_examples
@given(
    st.lists(st.tuples(BOXES, BOXES), min_size=1, max_size=6),
    st.sampled_from([1, 1e-5]),
    st.sampled_from(['iou', 'iof']),
    OFFSETS,
)
def test_bbox_overlaps_as_a_loop(pairs, scale, mode, offset):
    first, second = np.array(pairs, np.float32).swapaxes(0, 1) * np.float32(scale)
    expected = np.array([[overlap(a, b, offset, mode) for b in second] for a in first])
    boxes = torch.from_numpy(first), torch.from_numpy(second)
    each_with_each = ops.bbox_overlaps(*boxes, mode, offset=offset)
    row_by_row = ops.bbox_overlaps(*boxes, mode, aligned=True, offset=offset)
    np.testing.assert_allclose(each_with_each, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(row_by_row, expected.diagonal(), rtol=1e-5, atol=1e-5)


# --- What the recorded cases do not reach ---


@pytest.fixture
def random():
    """Give reproducible float64 leaves of a shape."""
    draw = torch.Generator().manual_seed(0)
    return lambda *shape: torch.rand(shape, generator=draw, dtype=torch.float64).requires_grad_()


def test_nms_drops_low_scores_and_keeps_at_most_max_num():
    boxes = torch.tensor([[x, 0, x + 1, 1] for x in (0.0, 2, 4, 6)])
    scores = torch.tensor([0.2, 0.5, 0.9, 0.7])
    assert ops.nms(boxes, scores, 0.5, score_threshold=0.3)[1].tolist() == [2, 3, 1]
    assert ops.nms(boxes, scores, 0.5, score_threshold=0.3, max_num=2)[1].tolist() == [2, 3]


def test_batched_nms_across_classes_takes_half_precision_scores():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 0, 29, 9]])
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=torch.float16)
    nms_cfg = {'type': 'nms', 'iou_threshold': 0.5, 'class_agnostic': True}
    assert ops.batched_nms(boxes, scores, torch.arange(3), nms_cfg)[1].tolist() == [1, 2]


@pytest.mark.parametrize('offset', [0, 1])
def test_suppression_of_no_boxes(offset):
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    nms_cfg = {'type': 'nms', 'iou_threshold': 0.5, 'class_agnostic': True, 'offset': offset}
    for dets, keep in (
        ops.nms(boxes, scores, 0.5, offset),
        ops.soft_nms(boxes, scores, offset=offset),
        ops.batched_nms(boxes, scores, scores, nms_cfg),
    ):
        assert (dets.shape, keep.shape, keep.dtype) == ((0, 5), (0,), torch.int64)


def test_roi_align_of_no_rois(random):
    features = random(2, 3, 8, 8)
    pooled = ops.roi_align(features, torch.zeros(0, 5, dtype=torch.float64), 7)
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_gradient_of_uneven_bins(random, aligned):
    rois = torch.tensor([[0, 1.3, 0.4, 9.1, 11.7], [1, 2.2, 3.1, 7.9, 6.3]], dtype=torch.float64)
    layer = ops.RoIAlign((2, 3), spatial_scale=0.5, sampling_ratio=2, aligned=aligned)
    assert gradcheck(lambda features: layer(features, rois), random(2, 2, 6, 7))


UNEVEN = (2, 1), (1, 2), (1, 2), 2  # stride, padding, dilation, groups
DEFORM_GROUPS = 2


def test_deform_conv2d_of_uneven_geometry(random):
    x, offset, weight = random(2, 2, 6, 7), random(2, 24, 3, 9), random(4, 1, 3, 2)

    def convolve(*tensors):
        return ops.deform_conv2d(*tensors, *UNEVEN, DEFORM_GROUPS)

    unmoved = convolve(x, torch.zeros_like(offset), weight)
    torch.testing.assert_close(unmoved, F.conv2d(x, weight, None, *UNEVEN))
    assert gradcheck(convolve, (x, offset, weight), fast_mode=True)


@pytest.mark.parametrize('with_bias', [True, False])
def test_modulated_deform_conv2d_of_uneven_geometry(random, with_bias):
    x, offset, mask = random(2, 2, 6, 7), random(2, 24, 3, 9), random(2, 12, 3, 9)
    weight, bias = random(4, 1, 3, 2), random(4) if with_bias else None

    def convolve(*tensors):
        return ops.modulated_deform_conv2d(*tensors, *UNEVEN, DEFORM_GROUPS)

    halved = convolve(x, torch.zeros_like(offset), torch.full_like(mask, 0.5), weight, bias)
    torch.testing.assert_close(halved, F.conv2d(x, weight / 2, bias, *UNEVEN))
    assert gradcheck(convolve, (x, offset, mask, weight, bias), fast_mode=True)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weight', [None, torch.tensor([0.5, 2, 3], dtype=torch.float64)])
def test_sigmoid_focal_loss_and_gradient(random, gamma, weight):
    logits, target = 8 * random(5, 3) - 4, torch.tensor([0, 2, 3, 1, 2])  # 3 is background
    p, alpha = logits.sigmoid(), 0.25
    if_positive = -alpha * (1 - p) ** gamma * p.log()
    if_negative = -(1 - alpha) * p**gamma * (1 - p).log()
    expected = torch.where(target[:, None] == torch.arange(3), if_positive, if_negative)
    if weight is not None:
        expected = expected * torch.tensor([*weight, 1])[target, None]
    result = ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(
        torch.autograd.grad(result.sum(), logits, retain_graph=True),
        torch.autograd.grad(expected.sum(), logits),
    )


def test_sigmoid_focal_loss_gradient_of_certain_predictions():
    logits = torch.tensor([[50.0, -50.0], [-50.0, 50.0]], requires_grad=True)
    gamma, alpha = 0.5, 0.25
    ops.sigmoid_focal_loss(logits, torch.tensor([0, 0]), gamma, alpha, None, 'sum').backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0, 0], [-alpha, 1 - alpha]]))


# --- What is in the place of mmcv's extension, and when ---


def test_an_operator_that_is_not_covered_raises_when_called():
    features, masks = torch.zeros(1, 4, 2, 2), torch.zeros(1, 25, 4, 4)
    kernel_size, group_size, scale_factor = 5, 1, 2
    with pytest.raises(NotImplementedError, match=r'"carafe_forward".*se_det\[full\]'):
        ops.carafe(features, masks, kernel_size, group_size, scale_factor)


def test_roi_align_by_maximum_is_not_covered():
    layer = ops.RoIAlign(7, pool_mode='max')
    with pytest.raises(NotImplementedError, match=r'roi_align_forward.*max.*se_det\[full\]'):
        layer(torch.zeros(1, 2, 8, 8), torch.zeros(1, 5))


def test_mmcv_and_mmengine_find_the_extension():
    assert mmcv._ext is mmcv_ops
    assert mmcv_ops.install()
    assert importlib.util.find_spec('mmcv._ext') is mmcv_ops.__spec__
    assert not hasattr(mmcv._ext, '__path__')
    assert isinstance(revert_sync_batchnorm(torch.nn.SyncBatchNorm(4)), torch.nn.Module)


def run_python(code, *arguments):
    command = [sys.executable, '-c', code, *arguments]
    repository = Path(__file__).parents[1]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True)


def test_compiled_operators_are_left_alone(tmp_path):
    (tmp_path / '_ext.py').write_text('def __getattr__(name): return f"compiled {name}"')
    process = run_python(
        'import sys, mmcv; mmcv.__path__.append(sys.argv[1])\n'
        'from se_det.mmcv_ops import install\n'
        'print(install(), sys.modules["mmcv._ext"].nms)',
        tmp_path,
    )
    assert 'False compiled nms\n' in process.stdout, process.stderr


def test_import_without_mmcv_says_what_to_install():
    process = run_python('import sys; sys.modules["mmcv"] = None; import se_det')
    assert process.returncode != 0
    assert 'UsageError: se_det needs mmcv' in process.stderr
    assert 'se_det[lite]' in process.stderr
