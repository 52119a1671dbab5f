import math
import os
import pickle

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric, DumpDetResults
from pycocotools import mask as rle

from se_det.errors import UsageError
from se_det.evaluation.ground_truth import GroundTruth
from se_det.evaluation.results import read_results

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
    from_pkl = read_results(tmp_path / 'run.pkl', truth, metric)
    from_json = read_results(tmp_path / f'run.{metric}.json', truth, metric)
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
    found = read_results(write('results.json', results), truth, metric)
    assert [truth.coco.image_ids[i] for i in found.image] == [r['image_id'] for r in results]
    samples = list(samples_of(annotations))
    (tmp_path / 'run.pkl').write_bytes(pickle.dumps(samples))
    if metric == 'bbox':
        found = read_results(tmp_path / 'run.pkl', truth, metric)
        counts = {s['img_id']: len(s['pred_instances']['scores']) for s in samples}
        places = np.bincount(found.image, minlength=len(ids))
        assert dict(zip(truth.coco.image_ids, places.tolist(), strict=True)) == counts


def refused(path, truth, metric='bbox'):
    with pytest.raises(UsageError) as error:
        read_results(path, truth, metric)
    return str(error.value)


VALUES = dict(
    null=None, text='x', number='1234', true=True, list=[1], dict={}, keys={'1': 0}, large=10**20,
    digits=10**400, inf=math.inf, half=0.5,
)  # fmt: skip


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@pytest.mark.parametrize('key', ['image_id', 'category_id', 'score', 'shape'])
def test_a_field_of_another_type_is_named_with_its_detection(write, files, key, metric):
    """None is rounded to a number that would fit."""
    ann_file, _, _, results = files
    truth = GroundTruth.read(ann_file)
    key = dict(bbox='bbox', segm='segmentation')[metric] if key == 'shape' else key
    for kind, value in VALUES.items():
        path = write('bad.json', [*results, {**results[0], key: value}])
        if key == 'score' and kind in ('large', 'half'):
            assert read_results(path, truth, metric).score[-1] == value
        else:
            message = refused(path, truth, metric)
            assert f'detection {len(results)}' in message or 'not a finite number' in message


def test_what_is_not_a_result_file_of_these_annotations(tmp_path, write, files):
    ann_file, path, _, results = files
    truth = GroundTruth.read(ann_file)
    for changes, message in [
        (dict(image_id=4711), 'image_id 4711 in detection 0'),
        (dict(category_id=1), 'category_id 1 in'),
        (dict(bbox=[0, 0, math.inf, 2]), 'not a finite number'),
        (dict(bbox=[0, 0, 1]), 'not a result file'),
    ]:
        assert message in refused(write('bad.json', [{**results[0], **changes}]), truth)
    boxes = [{k: v for k, v in result.items() if k != 'segmentation'} for result in results]
    assert 'not a result file for segm' in refused(write('bad.json', boxes), truth, 'segm')
    assert 'expected a JSON list' in refused(ann_file, truth)
    cut = tmp_path / 'cut.json'
    for content in (path.read_text()[:900], '[' * 100_000, '[{"score": ' + '9' * 5000 + '}]'):
        cut.write_text(content)
        assert 'cut off' in refused(cut, truth)
    assert 'cannot be read' in refused(tmp_path / 'missing.json', truth)


TOO_LONG = rle.frPyObjects(dict(size=[SIZE, SIZE], counts=[0, 10**6]), SIZE, SIZE)
TOO_LONG['counts'] = TOO_LONG['counts'].decode()


@pytest.mark.parametrize(
    'mask',
    [
        [[10, 10, 50, 10, 50, 60]],
        dict(size=[SIZE, SIZE], counts=[10, 20, 30]),
        dict(size=[SIZE, SIZE], counts=[SIZE * SIZE]),
        dict(counts='abc'),
        dict(size=[SIZE, SIZE], counts=''),
        dict(size=[SIZE, SIZE], counts='PPYo1'),
        dict(size=[SIZE, SIZE], counts='\ud800'),
        TOO_LONG,
        {**TOO_LONG, 'size': [3, 4]},
    ],
)
def test_a_mask_that_pycocotools_did_not_encode(tmp_path, write, files, mask):
    ann_file, _, annotations, results = files
    truth, path = GroundTruth.read(ann_file), tmp_path / 'run.pkl'
    message = refused(
        write('bad.json', [*results, {**results[0], 'segmentation': mask}]), truth, 'segm'
    )
    assert f'not run-length encoded for its image, in detection {len(results)}' in message
    assert f'is {SIZE} high and {SIZE} wide in {ann_file}' in message
    instances = dict(scores=[0.5], labels=[0], masks=[mask])
    samples = [dict(img_id=i['id'], pred_instances=instances) for i in annotations['images']]
    path.write_bytes(pickle.dumps(samples))
    assert 'not run-length encoded' in refused(path, truth, 'segm')


def test_what_is_not_a_pkl_of_these_annotations(tmp_path, files):
    ann_file, _, annotations, _ = files
    truth = GroundTruth.read(ann_file)
    path = tmp_path / 'run.pkl'

    def written(samples):
        path.write_bytes(pickle.dumps(samples))
        return path

    samples = list(samples_of(annotations))
    assert 'lacks 1 of the 6 images' in refused(written(samples[1:]), truth)
    written(samples)
    path.write_bytes(path.read_bytes()[:900])
    assert 'cut off' in refused(path, truth)
    assert 'posix.system' in refused(written([RunsACommand()]), truth)
    assert "'pred_instances'" in refused(written([dict(img_id=1)]), truth)
    for sample in samples:
        sample['pred_instances']['labels'] += 1
    assert 'label 3' in refused(written(samples), truth)


class RunsACommand:
    def __reduce__(self):
        return os.system, ('true',)


def test_a_pkl_whose_parts_do_not_fit_each_other(tmp_path, files):
    ann_file, _, annotations, _ = files
    truth = GroundTruth.read(ann_file)
    path = tmp_path / 'run.pkl'
    instances = dict(bboxes=torch.zeros(2, 4), scores=torch.ones(2), labels=torch.zeros(2))

    def message(**changes):
        samples = [
            dict(img_id=image['id'], pred_instances={**instances, **changes})
            for image in annotations['images']
        ]
        path.write_bytes(pickle.dumps(samples))
        return refused(path, truth)

    for key in instances:
        assert '2' in (found := message(**{key: instances[key][:1]})) and 'image' in found
        for value in (None, 'x', torch.tensor(1), 10**400):
            assert 'does not hold detections' in message(**{key: value})
    for label in (-1, 3, 0.5, math.nan):
        assert f'has label {label:g}' in message(labels=torch.tensor([0, label]))


def test_what_is_not_an_annotation_file(write, files):
    """tests/datasets/check has what is checked."""
    ann_file, path, annotations, _ = files
    with pytest.raises(UsageError, match='not a COCO annotation file'):
        GroundTruth.read(path)
    with pytest.raises(UsageError, match="no category 'cat'"):
        GroundTruth.read(ann_file, ['cat'])
    first = annotations['annotations'][0]
    del first['area']
    with pytest.raises(UsageError, match=r'bad.json has errors:\n.*area must be a finite number'):
        GroundTruth.read(write('bad.json', annotations))


def test_an_annotation_with_a_damaged_mask_is_named_where_masks_are_compared(write, files):
    _, _, annotations, _ = files
    first = annotations['annotations'][0]
    first['segmentation'] = dict(size=[SIZE, SIZE], counts='PPYo1')
    path = write('bad.json', annotations)
    with pytest.raises(UsageError, match=rf'bad.json has errors:\n.*annotation {first["id"]}'):
        GroundTruth.read(path, masks=True)
    GroundTruth.read(path)
