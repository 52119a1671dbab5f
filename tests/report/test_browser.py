"""The pages in headless Chromium: `make test-browser`."""

import base64
import shutil

import pytest

pytestmark = pytest.mark.browser

PHONE, DESKTOP = (390, 844), (1280, 900)
SHOWN = """
return [...document.querySelectorAll('svg')].map(svg => {
  const box = svg.getBoundingClientRect();
  const drawn = svg.getBBox();
  return {label: svg.getAttribute('aria-label'), width: box.width, height: box.height,
          drawn: drawn.width * drawn.height, isPlot: svg.classList.contains('plot'),
          texts: svg.querySelectorAll('text').length};
});
"""


@pytest.fixture(scope='module')
def browser():
    webdriver = pytest.importorskip('selenium.webdriver')
    options = webdriver.ChromeOptions()
    for argument in ('--headless=new', '--no-sandbox', '--hide-scrollbars'):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    service = webdriver.ChromeService(shutil.which('chromedriver'))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def _open(browser, page, size, scheme):
    width, height = size
    metrics = dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
    features = [dict(name='prefers-color-scheme', value=scheme)]
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=features))
    browser.get(page.as_uri())


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('size', [PHONE, DESKTOP], ids=['phone', 'desktop'])
@pytest.mark.parametrize('page', ['run_page', 'comparison_page'])
def test_every_figure_is_there_and_nothing_complains(browser, page, size, scheme, request):
    _open(browser, request.getfixturevalue(page), size, scheme)
    assert browser.get_log('browser') == []
    requested = [
        entry['message'] for entry in browser.get_log('performance') if 'http' in entry['message']
    ]
    assert [message for message in requested if '"url":"http' in message] == []
    figures = browser.execute_script(SHOWN)
    assert len(figures) >= 7
    for figure in figures:
        assert figure['width'] > 200 and figure['height'] > 80, figure
        assert figure['drawn'] > 1000, figure
    assert all(figure['texts'] for figure in figures if figure['isPlot'])
    width = browser.execute_script('return document.documentElement.scrollWidth')
    assert width <= size[0]  # nothing hangs over


def test_images_load_and_every_label_is_inside_its_picture(browser, run_page):
    _open(browser, run_page, DESKTOP, 'light')
    decoded = browser.execute_async_script("""
        const done = arguments[0];
        const images = [...document.querySelectorAll('image')];
        Promise.all(images.map(image => {
          const copy = new Image();
          copy.src = image.getAttribute('href');
          return copy.decode().then(() => copy.naturalWidth);
        })).then(done);
    """)
    assert decoded == [100] * 4
    outside = browser.execute_script("""
        return [...document.querySelectorAll('svg.photo text')].filter(text => {
          const label = text.getBoundingClientRect();
          const photo = text.closest('svg').getBoundingClientRect();
          return label.left < photo.left - 1 || label.right > photo.right + 1
              || label.top < photo.top - 1 || label.bottom > photo.bottom + 1;
        }).map(text => text.textContent);
    """)
    assert outside == []


@pytest.mark.parametrize('page', ['run_page', 'comparison_page'])
def test_colours_follow_the_scheme_and_text_stands_out(browser, page, request):
    page = request.getfixturevalue(page)
    luminance = {}
    for scheme in ('light', 'dark'):
        _open(browser, page, DESKTOP, scheme)
        luminance[scheme] = browser.execute_script("""
            const of = colour => {
              const [r, g, b] = colour.match(/[0-9.]+/g).map(part => {
                const share = part / 255;
                return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
              });
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const text = document.querySelector('.plot text');
            return [of(getComputedStyle(document.body).backgroundColor),
                    of(getComputedStyle(document.body).color),
                    of(getComputedStyle(text).fill)];
        """)
    assert luminance['light'][0] > 0.9 > 0.1 > luminance['dark'][0]
    for ground, *inks in luminance.values():
        for ink in inks:
            contrast = (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05)
            assert contrast > 4.5  # WCAG 2, level AA


def test_it_prints(browser, run_page):
    _open(browser, run_page, DESKTOP, 'dark')
    pdf = base64.b64decode(browser.execute_cdp_cmd('Page.printToPDF', {})['data'])
    assert pdf.startswith(b'%PDF') and len(pdf) > 50_000
