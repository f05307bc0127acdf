"""The page about an evaluation in a real browser: it paints, moves, sorts and asks for nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib import image as mpl_image
from scripts.report.page import write_page
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.chromium import needs_chromium, running_chromium
from tests.evaluation_folder import write_evaluation

pytestmark = needs_chromium
PATIENCE_S = 60  # drawing by the processor takes its time where several share it
PHONE_WIDTH = 360  # CSS pixels of a narrow telephone
FIRST_CELLS = "[...arguments[0].tBodies[0].rows].map((row) => row.cells[arguments[1]].textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(write_evaluation(tmp_path_factory.mktemp("evaluation"))).as_uri()


@pytest.fixture(scope="module")
def visited(browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    """The browser on the page, with the viewer ready."""
    browser.get(address)
    wait_for_viewer(browser)
    return browser


@pytest.fixture
def page(visited: webdriver.Chrome, address: str) -> webdriver.Chrome:
    """The same, after tests that went elsewhere."""
    if visited.current_url != address:
        visited.get(address)
        wait_for_viewer(visited)
    return visited


def wait_for_viewer(browser: webdriver.Chrome, state: str = "ready") -> None:
    viewer = browser.find_element(By.ID, "viewer")
    browser.execute_script("arguments[0].scrollIntoView()", viewer)
    WebDriverWait(browser, PATIENCE_S).until(lambda _: viewer.get_attribute("data-state") == state)


def find_canvases(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#viewer canvas")


def take_pictures(browser: webdriver.Chrome) -> list[np.ndarray]:
    """What stands in each canvas, (height, width, 3) in [0, 1]."""
    contents = [canvas.screenshot_as_png for canvas in find_canvases(browser)]
    return [
        np.asarray(mpl_image.imread(io.BytesIO(each), format="png"))[..., :3] for each in contents
    ]


def select_session(browser: webdriver.Chrome, number: int) -> None:
    Select(browser.find_element(By.ID, "viewer-session")).select_by_index(number)
    label = browser.find_element(By.ID, "viewer-session").get_attribute("value")
    assert label == str(number)
    WebDriverWait(browser, PATIENCE_S).until(
        lambda _: browser.find_element(By.ID, "viewer").get_attribute("data-state") == "ready"
    )


def compute_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


def test_every_view_paints_a_head_on_black(page: webdriver.Chrome) -> None:
    pictures = take_pictures(page)
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.std() > 0.02
        assert picture[10, 10].max() < 0.02  # the corner of a round view's square
    source, real, synthetic, error = pictures
    assert all(np.ptp(grey, axis=2).max() < 0.02 for grey in (source, real, synthetic))
    assert np.ptp(error, axis=2).max() > 0.2  # in colours


def test_the_error_is_drawn_in_the_colours_of_its_scale(page: webdriver.Chrome) -> None:
    error = take_pictures(page)[3].reshape(-1, 3)
    colours = np.array(
        page.execute_script(
            "const data = JSON.parse(document.getElementById('viewer-data').textContent);"
            "const stops = data.errorColours;"
            "return stops.R.map((red, i) => [red, stops.G[i], stops.B[i]]);"
        )
    )
    places = np.linspace(0, len(colours) - 1, 256)
    scale = np.stack([np.interp(places, range(len(colours)), part) for part in colours.T], 1) / 255
    inside = error[error.max(axis=1) > 0.1][::50]
    distance = np.abs(inside[:, None] - scale[None]).max(axis=2).min(axis=1)
    assert np.quantile(distance, 0.9) < 0.03


def test_the_slider_moves_every_view(page: webdriver.Chrome) -> None:
    slider = page.find_element(By.ID, "viewer-slice")
    before, place = take_pictures(page), int(slider.get_attribute("value"))
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    after = take_pictures(page)
    text = f"{place + 3} of 12"
    assert page.find_element(By.ID, "viewer-slice-text").text == text
    assert slider.get_attribute("aria-valuetext") == text
    assert all(compute_difference(*pair) > 0.1 for pair in zip(before, after, strict=True))
    label = find_canvases(page)[0].get_attribute("aria-label")
    assert label == f"Source T1w of heads_sub-03, slice {text}"
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert compute_difference(take_pictures(page)[0], before[0]) < 0.02


def test_another_session_replaces_every_view(page: webdriver.Chrome) -> None:
    select_session(page, 0)
    before = take_pictures(page)
    select_session(page, 4)
    after = take_pictures(page)
    assert all(compute_difference(*pair) > 0.1 for pair in zip(before, after, strict=True))
    captions = page.find_elements(By.CSS_SELECTOR, "#viewer figcaption")
    assert [each.text for each in captions][:2] == ["Source T2w", "Real T1w"]
    select_session(page, 0)
    assert compute_difference(take_pictures(page)[0], before[0]) < 0.02


def test_a_click_reads_all_intensities_at_one_place(page: webdriver.Chrome) -> None:
    select_session(page, 0)
    find_canvases(page)[1].click()  # into its middle, where the source has fluid
    values = page.find_element(By.ID, "viewer-values")
    assert values.text.startswith("At the cross: source T1w 0.")
    before = values.text, take_pictures(page)[3]
    panels = page.find_element(By.CSS_SELECTOR, "#viewer .panels")
    panels.send_keys(*[Keys.ARROW_LEFT] * 8)
    assert values.text != before[0]
    assert compute_difference(take_pictures(page)[3], before[1]) > 0.1
    panels.send_keys(Keys.PAGE_UP)
    assert page.find_element(By.ID, "viewer-slice-text").text == "8 of 12"
    select_session(page, 1)
    assert values.text == ""


def test_tables_sort_by_value_with_mouse_and_keyboard(page: webdriver.Chrome) -> None:
    table = page.find_element(By.CSS_SELECTOR, "#figures ~ .scroll table")
    head = table.find_elements(By.CSS_SELECTOR, "thead th")[1]
    button = head.find_element(By.TAG_NAME, "button")
    assert head.get_attribute("aria-sort") is None
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert read_figures(page, table, 1) == [0.61, 0.58, 0.54, 0.41, None]  # the real row has none
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert read_figures(page, table, 1) == [0.41, 0.54, 0.58, 0.61, None]
    name = table.find_elements(By.CSS_SELECTOR, "thead th")[0]
    name.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert (name.get_attribute("aria-sort"), head.get_attribute("aria-sort")) == ("ascending", None)
    first = page.execute_script(f"return {FIRST_CELLS}", table, 0)
    assert [each[:4] for each in first] == ["copy", "look", "mean", "mode", "real"]


def read_figures(browser: webdriver.Chrome, table: WebElement, column: int) -> list[float | None]:
    """Means of a column, without their intervals, from top to bottom."""
    cells = browser.execute_script(f"return {FIRST_CELLS}", table, column)
    return [None if "measured" in cell else float(cell[:5]) for cell in cells]


def test_a_visit_leaves_no_error_and_asks_for_nothing(
    browser: webdriver.Chrome, address: str
) -> None:
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(address)
    wait_for_viewer(browser)
    browser.find_element(By.ID, "viewer-slice").send_keys(Keys.ARROW_RIGHT)
    select_session(browser, 1)
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    addresses = list_requests(browser)
    assert address in addresses
    schemes = {each.partition(":")[0] for each in addresses}
    assert schemes <= {"file", "data", "blob"}
    assert [each for each in addresses if each.startswith("file:")] == [address]


def list_requests(browser: webdriver.Chrome) -> list[str]:
    messages: list[dict[str, Any]] = [
        json.loads(line["message"])["message"] for line in browser.get_log("performance")
    ]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_a_telephone_scrolls_down_only(page: webdriver.Chrome) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": PHONE_WIDTH, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    page.execute_script("document.querySelectorAll('details').forEach((each) => each.open = true)")
    widths = page.execute_script(
        "return [innerWidth, document.scrollingElement.scrollWidth, document.body.scrollWidth]"
    )
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert widths == [PHONE_WIDTH] * 3


def test_dark_and_light_are_those_of_the_system(page: webdriver.Chrome) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        brightness[scheme] = page.execute_script(
            "const style = getComputedStyle(document.body);"
            "return ['backgroundColor', 'color'].map("
            "  (name) => Math.max(...style[name].match(/\\d+/g).map(Number)));"
        )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert brightness["light"][0] > 200 > 100 > brightness["light"][1]
    assert brightness["dark"][0] < 100 < 200 < brightness["dark"][1]


def test_without_webgl_a_sentence_points_to_the_pictures(
    browser: webdriver.Chrome, address: str
) -> None:
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {"source": "HTMLCanvasElement.prototype.getContext = () => null;"},
    )
    browser.get(address + "?")
    wait_for_viewer(browser, "missing")
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert "cannot show the viewer" in browser.find_element(By.ID, "viewer-missing").text
    assert not browser.find_element(By.ID, "viewer-body").is_displayed()
    loaded = "return [...document.images].every((each) => each.complete && each.naturalWidth > 0)"
    assert browser.execute_script(loaded)
