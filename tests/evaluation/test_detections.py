import json
import math
import os
import pickle

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric, DumpDetResults

from se_det.errors import UsageError
from se_det.evaluation.detections import read_detections
from se_det.evaluation.ground_truth import GroundTruth

from .conftest import SIZE, draw


@pytest.fixture
def files(write):
    """Annotations and results of both metrics."""
    annotations, results = draw(np.random.default_rng(0), segm=True)
    return write('gt.json', annotations), write('dt.json', results), annotations, results


def samples_of(annotations):
    """What mmdet's evaluator hands to its metrics: random instances, masks included."""
    torch.manual_seed(0)
    for image in annotations['images']:
        count = int(torch.randint(5, ()))
        corner, size = torch.rand(count, 2) * SIZE / 2, torch.rand(count, 2) * SIZE / 2 + 1
        instances = dict(
            bboxes=torch.cat([corner, corner + size], 1),
            scores=torch.rand(count),
            labels=torch.randint(3, (count,)),
            masks=torch.rand(count, SIZE, SIZE) < 0.5,
            mask_scores=torch.rand(count),
        )
        scale = np.array([1.0, 1.0])
        yield dict(
            img_id=image['id'],
            ori_shape=(SIZE, SIZE),
            scale_factor=scale,
            pred_instances=instances,
        )


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_pkl_and_json_of_mmdet_hold_the_same(tmp_path, files, metric):
    ann_file, _, annotations, _ = files
    classes = tuple(category['name'] for category in annotations['categories'])
    coco = CocoMetric(
        ann_file=str(ann_file),
        metric=['bbox', 'segm'],
        format_only=True,
        outfile_prefix=str(tmp_path / 'run'),
    )
    coco.dataset_meta = dict(classes=classes)
    dump = DumpDetResults(out_file_path=str(tmp_path / 'run.pkl'))
    coco.process({}, list(samples_of(annotations)))
    dump.process({}, list(samples_of(annotations)))
    for writer in (coco, dump):
        writer.evaluate(len(annotations['images']))

    truth = GroundTruth.read(ann_file)
    from_pkl = read_detections(tmp_path / 'run.pkl', truth, metric)
    from_json = read_detections(tmp_path / f'run.{metric}.json', truth, metric)
    assert len(from_json.score) > 5
    for name in ('image', 'category', 'score', 'area'):
        np.testing.assert_array_equal(getattr(from_pkl, name), getattr(from_json, name))
    if metric == 'bbox':
        np.testing.assert_array_equal(from_pkl.shapes, from_json.shapes)


def test_labels_follow_the_classes_of_the_config(files):
    ann_file, *_ = files
    truth = GroundTruth.read(ann_file, ['class 2', 'class 0'])
    assert truth.labels.tolist() == [1, 3]  # numbered in the order of the annotations, as mmdet
    assert truth.names == ['class 0', 'class 2']


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
def test_ids_that_are_text(tmp_path, write, files, metric):
    """Of images, in results and in the pkl; text sorts as text, after numbers."""
    _, _, annotations, results = files
    ids = {image['id']: f'img {99 - n}' for n, image in enumerate(annotations['images'])}
    first = annotations['images'][0]['id']
    ids[first] = first
    for record in [*annotations['annotations'], *results]:
        record['image_id'] = ids[record['image_id']]
    for image in annotations['images']:
        image['id'] = ids[image['id']]
    truth = GroundTruth.read(write('text.json', annotations), masks=True)
    assert truth.coco.image_ids == [first, *sorted(key for key in ids.values() if key != first)]
    found = read_detections(write('results.json', results), truth, metric)
    assert [truth.coco.image_ids[i] for i in found.image] == [r['image_id'] for r in results]
    samples = list(samples_of(annotations))
    (tmp_path / 'run.pkl').write_bytes(pickle.dumps(samples))
    if metric == 'bbox':
        found = read_detections(tmp_path / 'run.pkl', truth, metric)
        counts = {s['img_id']: len(s['pred_instances']['scores']) for s in samples}
        places = np.bincount(found.image, minlength=len(ids))
        assert dict(zip(truth.coco.image_ids, places.tolist(), strict=True)) == counts


def refused(path, truth, metric='bbox'):
    with pytest.raises(UsageError) as error:
        read_detections(path, truth, metric)
    return str(error.value)


def test_what_is_not_a_result_file_of_these_annotations(tmp_path, write, files):
    ann_file, path, _, results = files
    truth = GroundTruth.read(ann_file)
    first = results[0]

    def with_first(**changes):
        return write('bad.json', [{**first, **changes}, *results[1:]])

    assert 'image id 4711' in refused(with_first(image_id=4711), truth)
    assert 'category id 1,' in refused(with_first(category_id=1), truth)
    assert 'not a finite number' in refused(with_first(score=math.nan), truth)
    assert 'not a finite number' in refused(with_first(bbox=[0, 0, math.inf, 2]), truth)
    assert 'not a result file' in refused(with_first(bbox=[0, 0, 1]), truth)
    assert 'not a result file' in refused(with_first(score='high'), truth)
    mask = {**first['segmentation'], 'size': [3, 4]}
    assert '(3, 4)' in refused(with_first(segmentation=mask), truth, 'segm')
    assert "no 'segmentation' for segm" not in refused(write('bad.json', {}), truth)
    boxes = [{k: v for k, v in result.items() if k != 'segmentation'} for result in results]
    assert 'not a result file for segm' in refused(write('bad.json', boxes), truth, 'segm')
    assert 'expected a JSON list' in refused(ann_file, truth)
    assert 'cut off' in refused(truncated(path, tmp_path / 'cut.json'), truth)
    assert 'cannot be read' in refused(tmp_path / 'missing.json', truth)


def test_what_is_not_a_pkl_of_these_annotations(tmp_path, files):
    ann_file, _, annotations, _ = files
    truth = GroundTruth.read(ann_file)
    path = tmp_path / 'run.pkl'

    def written(samples):
        path.write_bytes(pickle.dumps(samples))
        return path

    samples = list(samples_of(annotations))
    assert 'lacks 1 of the 6 images' in refused(written(samples[1:]), truth)
    assert 'cut off' in refused(truncated(written(samples), tmp_path / 'cut.pkl'), truth)
    assert 'posix.system' in refused(written([RunsACommand()]), truth)
    assert "'pred_instances'" in refused(written([dict(img_id=1)]), truth)
    for sample in samples:
        sample['pred_instances']['labels'] += 1
    assert 'label 3' in refused(written(samples), truth)


class RunsACommand:
    def __reduce__(self):
        return os.system, ('true',)


def truncated(path, to):
    content = path.read_bytes()
    to.write_bytes(content[: len(content) // 2])
    return to


def test_what_is_not_an_annotation_file(tmp_path, write, files):
    ann_file, path, annotations, _ = files

    def refused_annotations(path, classes=None):
        with pytest.raises(UsageError) as error:
            GroundTruth.read(path, classes)
        return str(error.value)

    assert 'not a COCO annotation file' in refused_annotations(path)
    assert 'not a COCO annotation file' in refused_annotations(
        truncated(ann_file, tmp_path / 'cut.json')
    )
    assert "no category 'cat'" in refused_annotations(ann_file, ['cat'])
    twice = [*annotations['annotations'], annotations['annotations'][0]]
    assert 'ids of annotations must be unique' in refused_annotations(
        write('bad.json', {**annotations, 'annotations': twice})
    )
    without = [{k: v for k, v in a.items() if k != 'area'} for a in annotations['annotations']]
    bad = write('bad.json', json.loads(json.dumps({**annotations, 'annotations': without})))
    assert 'area must be a finite number' in refused_annotations(bad)
