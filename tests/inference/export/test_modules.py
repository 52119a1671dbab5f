"""What is exported computes what mmdet does, before it is exported."""

import torch

from se_det.inference.export.modules import WholeDetector
from se_det.inference.export.parts import check_settings, unknown_part
from se_det.inference.paste_masks import paste_masks


def compare(outputs, expected):
    """Compare padded outputs with mmdet's instances, but for masks."""
    boxes, scores, labels = outputs[:3]
    for index, instances in enumerate(expected):
        count = len(instances)
        assert count > 3
        assert (scores[index, count:] == 0).all() and (labels[index, count:] == -1).all()
        assert (boxes[index, count:] == 0).all()
        torch.testing.assert_close(scores[index, :count], instances.scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(boxes[index, :count], instances.bboxes, atol=1e-3, rtol=0)
        assert torch.equal(labels[index, :count], instances.labels)


def test_a_batch_of_different_sizes_is_predicted_as_mmdet_does(detector, predict, make_batch):
    assert unknown_part(detector) is None
    check_settings(detector)
    whole = WholeDetector(detector)
    images, sizes = make_batch((96, 128), (120, 90))
    compare(whole(images, sizes), predict(detector, images, sizes))


def test_masks_are_those_of_mmdet(detector, predict, make_batch):
    whole = WholeDetector(detector)
    if not whole.has_masks:
        assert whole.outputs == ['boxes', 'scores', 'labels']
        return
    images, sizes = make_batch((96, 128))
    boxes, _, _, masks = whole(images, sizes)
    assert masks.shape == (1, 10, 28, 28)
    found = predict(detector, images, sizes)[0]
    pasted = paste_masks(masks[0].numpy(), boxes[0].numpy(), (96, 128), 0.5)[: len(found)]
    assert found.masks.any() and (pasted != found.masks.numpy()).mean() < 1e-5


def test_a_blank_image_has_no_unused_place_with_a_label(detector):
    outputs = WholeDetector(detector)(torch.zeros(1, 3, 64, 64), torch.tensor([[64, 64]]))
    is_used = outputs[1] > 0
    assert (outputs[2][~is_used] == -1).all() and (outputs[0][~is_used] == 0).all()
    assert (outputs[2][is_used] >= 0).all() and torch.isfinite(outputs[0]).all()
