import json
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


def test_what_is_not_a_result_file_of_these_annotations(tmp_path, write, files):
    ann_file, path, _, results = files
    truth = GroundTruth.read(ann_file)
    first = results[0]

    def with_first(**changes):
        return write('bad.json', [{**first, **changes}, *results[1:]])

    assert 'image_id 4711 in detection 0' in refused(with_first(image_id=4711), truth)
    assert 'category_id 1 in' in refused(with_first(category_id=1), truth)
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


VALUES = dict(
    null=None, text='x', list=[1], dict={}, large=10**20, digits=10**400, inf=math.inf, half=0.5
)


@pytest.mark.parametrize('metric', ['bbox', 'segm'])
@pytest.mark.parametrize('key', ['image_id', 'category_id', 'score', 'shape'])
@pytest.mark.parametrize('kind', VALUES)
def test_a_field_of_another_type_is_named_with_its_detection(write, files, key, kind, metric):
    """None is rounded to a number that would fit."""
    ann_file, _, _, results = files
    key = dict(bbox='bbox', segm='segmentation')[metric] if key == 'shape' else key
    path = write('bad.json', [*results, {**results[0], key: VALUES[kind]}])
    truth = GroundTruth.read(ann_file)
    if key == 'score' and kind in ('large', 'half'):
        assert read_results(path, truth, metric).score[-1] == VALUES[kind]
        return
    message = refused(path, truth, metric)
    assert f'detection {len(results)}' in message or 'not a finite number' in message


TOO_LONG = rle.frPyObjects(dict(size=[SIZE, SIZE], counts=[0, 10**6]), SIZE, SIZE)
TOO_LONG['counts'] = TOO_LONG['counts'].decode()


@pytest.mark.parametrize(
    'mask',
    [
        [[10, 10, 50, 10, 50, 60]],
        dict(size=[SIZE, SIZE], counts=[10, 20, 30]),
        dict(counts='abc'),
        dict(size=[SIZE, SIZE], counts=''),
        dict(size=[SIZE, SIZE], counts='PPYo1'),
        dict(size=[SIZE, SIZE], counts='\ud800'),
        TOO_LONG,
    ],
)
def test_a_mask_that_pycocotools_did_not_encode(write, files, mask):
    ann_file, _, _, results = files
    path = write('bad.json', [*results, {**results[0], 'segmentation': mask}])
    message = refused(path, GroundTruth.read(ann_file), 'segm')
    assert 'run-length encoded' in message or 'damaged mask' in message


def test_json_that_python_cannot_hold(tmp_path, files):
    truth = GroundTruth.read(files[0])
    path = tmp_path / 'bad.json'
    path.write_text('[' * 100_000)
    assert 'nested too deep' in refused(path, truth)
    path.write_text('[{"score": ' + '9' * 5000 + '}]')
    assert 'a number that cannot be read' in refused(path, truth)


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


@pytest.mark.parametrize('kind', ['images', 'categories', 'annotations'])
def test_a_field_of_the_annotations_of_another_type(write, files, kind):
    _, _, annotations, _ = files
    fields = dict(
        images=['id', 'width'],
        categories=['id', 'name'],
        annotations=['id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd'],
    )
    for field in fields[kind]:
        for value in (None, [1], {}, 10**400):
            first, *others = annotations[kind]
            path = write('bad.json', {**annotations, kind: [{**first, field: value}, *others]})
            with pytest.raises(UsageError, match=f'{field} .*must') as error:
                GroundTruth.read(path)
            assert len(str(error.value)) < 4000
    for value in (None, 3, 'text', [3], [None]):
        with pytest.raises(UsageError, match=r'not a COCO annotation file|must be a dict'):
            GroundTruth.read(write('bad.json', {**annotations, kind: value}))


CUT = dict(size=[SIZE, SIZE], counts='PPYo1')


@pytest.mark.parametrize(
    'segmentation',
    [
        *(None, [], 'x', [[1, 2]], [[math.nan] * 6], [[10**400] * 6], ['x'], {}, dict(counts='x')),
        *(CUT, {**CUT, 'counts': ''}, {**CUT, 'counts': '\ud800'}, {**CUT, 'counts': [1, 2]}),
        *({**CUT, 'size': [SIZE, 2]}, {**CUT, 'counts': [None]}, TOO_LONG),
    ],
)
def test_an_annotation_without_a_mask_is_named(write, files, segmentation):
    """A damaged run-length encoding too; where boxes are compared, it is not read."""
    _, _, annotations, _ = files
    annotations['annotations'][0]['segmentation'] = segmentation
    path = write('bad.json', annotations)
    name = f'annotation {annotations["annotations"][0]["id"]}'
    with pytest.raises(UsageError, match=rf'bad.json has errors:\n.*{name}'):
        GroundTruth.read(path, masks=True)
    GroundTruth.read(path)
