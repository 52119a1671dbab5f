"""The pages are whole, need nothing else, and show what they were given."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from se_det.report.history import History
from se_det.report.run_page import write_run_page
from se_det.report.scores import score

from .conftest import make_random, make_results, make_runner, make_truth

VOID = {'meta', 'link', 'br', 'image', 'use', 'rect', 'path', 'line', 'circle'}


class Page(HTMLParser):
    """Ids, references, and whether tags close."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.references, self.open, self.figures, self.tags = [], [], [], [], []
        self.text = path.read_text(encoding='utf-8')
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._see(dict(attributes))

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self._see(dict(attributes))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def _see(self, attributes):
        if 'id' in attributes:
            self.ids.append(attributes['id'])
        for name in ('href', 'src', 'xlink:href'):
            if name in attributes:
                self.references.append(attributes[name])
        if 'aria-label' in attributes:
            self.figures.append(attributes['aria-label'])


@pytest.mark.parametrize('page', ['run_page', 'comparison_page'])
def test_a_page_is_whole_and_self_contained(page, request):
    path = request.getfixturevalue(page)
    page = Page(path)
    assert path.name == 'report.html' and path.stat().st_size < 5e6
    assert [file.name for file in path.parent.glob('.*')] == []
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    for reference in page.references:
        assert reference.startswith('data:') or reference.removeprefix('#') in page.ids
    assert set(re.findall(r'url\(#([^)]*)\)', page.text)) <= set(page.ids)
    assert 'script' not in page.tags
    assert not re.search(r'#0[12]0[23]0\d', page.text)  # colours that became CSS variables


def test_the_page_of_a_run(run_page, history):
    page = Page(run_page)
    figures = ' | '.join(page.figures)
    for title in ('Training loss', 'Its parts: cls', 'Learning rate', 'bbox_mAP by epoch'):
        assert title in figures
    for title in ('Precision and recall', 'Errors', 'Confusion'):
        assert figures.count(title) == 2  # boxes, masks
    assert 'best 30.0 at epoch 2' in figures
    assert page.tags.count('image') == 4 and page.tags.count('use') >= 4
    assert '16 parameters' not in page.text and 'epoch 2' in page.text
    assert '&lt;script&gt;' in page.text
    assert '0.50 s an iteration, 1 min in all' in page.text


def test_the_page_of_a_comparison(comparison_page):
    page = Page(comparison_page)
    figures = ' | '.join(page.figures)
    for title in ('intervals exclude zero', 'AP by class', '2 seeds a side', 'Errors'):
        assert title in figures
    assert 'The candidate is better' in page.text
    rows = re.findall(r'<th>([38])</th>' + 3 * r'<td class="num">(\S+)</td>', page.text)
    assert [seed for seed, *_ in rows] == ['3', '8']
    for _, plain, se, difference in rows:
        assert float(difference) == pytest.approx(float(se) - float(plain), abs=0.11)
    assert 'does not pair seeds' in page.text
    assert 'Largest wins' in page.text
    lines = re.findall(r'class="(minus|plus)">(.*?)</span>', page.text)
    assert [(kind, line.replace('&#39;', "'")) for kind, line in lines] == [
        ('minus', "-backbone = 'ResNet'"),
        ('plus', "+backbone = 'SEResNet'"),
    ]
    assert 'tools/train.py se.py' in page.text


def test_a_run_without_detections_and_one_without_anything(tmp_path):
    truth, runner = make_truth([(1, 1, (10, 10, 20, 20))]), make_runner(tmp_path)
    scores = [score(truth, make_results(truth, []), 'bbox')]
    page = Page(write_run_page(runner, History(), scores, {1: 'gone.png'}, num_images=4))
    assert 'Confusion: no class is taken for another' in page.text
    assert 'image' not in page.tags
    page = Page(write_run_page(runner, History(), [], {}, num_images=4))
    assert page.figures == []


def test_a_long_run_stays_small(tmp_path):
    losses = np.random.default_rng(0).random(100_000)
    history = History(losses=dict(loss=losses), learning_rate=losses)
    path = write_run_page(make_runner(tmp_path), history, [], {}, num_images=0)
    assert path.stat().st_size < 200_000


def test_a_failed_page_leaves_the_old_one(run_page, history):
    before = run_page.read_text(encoding='utf-8')
    with pytest.raises(AttributeError):
        runner = make_runner(run_page.parent)
        write_run_page(runner, history, ['not scores'], {}, num_images=4)
    assert run_page.read_text(encoding='utf-8') == before


def test_any_text_is_a_name_of_a_class(tmp_path):
    truth, results = make_random(1)
    names = ['$', 'half $_{ a formula$', 'caf\udce9', '<b>bold</b>']
    for category, name in zip(truth.coco.dataset['categories'], names, strict=True):
        category['name'] = name
    scores = [score(truth, results, 'bbox')]
    page = Page(write_run_page(make_runner(tmp_path), History(), scores, {}, num_images=4))
    assert page.open == []
    for shown in ('half $_{ a formula$', 'caf?', '&lt;b&gt;bold&lt;/b&gt;'):
        assert page.text.count(shown) > 1
