"""The report's page in a real browser: its numbers are minikd's, keys do all that a mouse does, nothing is fetched."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import chromium, need_browser

from minikd import distillation_loss, softmax
from minikd.data import DATASETS, load_data
from minikd.experiments.compare import compare, settings_for
from minikd.experiments.config import Config
from minikd.experiments.distill import Experiment
from minikd.experiments.summary import NAMES
from minikd.report import html as report

pytestmark = pytest.mark.slow

QUICK = {"epochs": 2, "teacher": (16,), "student": (4,), "seeds": 1}
LARGEST = 2_000_000  # bytes
HOSTILE = "</script><img src=x onerror=x()>&lt;"
SET = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }"


def quick_run(folder: Path, data: str, **given: Any) -> Path:
    config = Config.for_data(data, **{**QUICK, **given})
    config.write(folder)
    Experiment(config, folder).run()
    return folder


@pytest.fixture(scope="module")
def page_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a run on digits and of a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    compare(settings_for(**QUICK), ("kd", "dkd"), folder / "compare")
    runs = {"digits": quick_run(folder / "digits", "digits"), "compare": folder / "compare"}
    return {name: report.write(run) for name, run in runs.items()}


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    need_browser()
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(chrome: Any) -> Iterator[Any]:
    """A function that opens a file and returns its page; afterwards, nothing may have been fetched or complained of."""
    opened: list[Any] = []
    heard: list[str] = []

    def open_page(path: Path, width: int = 1440, **options: Any) -> Any:
        context = chrome.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(str(error)))
        opened.append(context)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in opened:
        context.close()
    assert heard == []


def embedded(path: Path) -> Any:
    """The page's numbers: labels, index, and logits (n, K) float64 by network."""
    found = re.search(r'id="numbers">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found
    numbers = json.loads(found[1])
    shape = (len(numbers["index"]), len(numbers["classes"]))
    logits = {n["name"]: np.frombuffer(b64decode(n["logits"]), "<f4").reshape(shape) for n in numbers["networks"]}
    return SimpleNamespace(**{**numbers, "logits": {name: z.astype(np.float64) for name, z in logits.items()}})


def shown(page: Any, table: str) -> np.ndarray:
    """The full numbers in a table of bars, (rows, columns)."""
    rows = f"[...document.querySelectorAll('#{table} tbody tr')]"
    return np.array(page.evaluate(rows + ".map(row => [...row.querySelectorAll('data')].map(data => +data.value))"))


def bar_widths(page: Any) -> list[float]:
    page.wait_for_timeout(200)  # they move there in 120 ms
    widths: list[float] = page.evaluate("[...document.querySelectorAll('#probabilities i')].map(b => b.offsetWidth)")
    return widths


def sample_of(page: Any, numbers: Any) -> int:
    """Which of the page's samples is shown."""
    found = re.search(r"Test \w+ (\d+):", page.inner_text("#sample-name"))
    assert found
    return int(numbers.index.index(int(found[1])))


def test_the_page_is_small_and_its_logits_are_those_of_the_networks(page_files: dict[str, Path]) -> None:
    numbers, data = embedded(page_files["digits"]), load_data("digits")
    run = page_files["digits"].parent
    assert all(path.stat().st_size < LARGEST for path in page_files.values())
    done = report.finished(run, Config.read(run), data)
    shown = [trained for trained in done if trained.kind in NAMES]
    for trained, z in zip(shown, numbers.logits.values(), strict=True):
        assert np.array_equal(trained.model.predict(data.x_test)[numbers.index], z)


def test_at_every_temperature_bars_sum_to_one_and_are_the_softmax(page_files: dict[str, Path], visit: Any) -> None:
    page, numbers = visit(page_files["digits"]), embedded(page_files["digits"])
    for nth in (0, 7):
        page.locator("#strip input").nth(nth).check()
        sample = sample_of(page, numbers)
        for exponent in np.linspace(-2, 5, 15).round(1):
            page.eval_on_selector("#temperature", SET, str(exponent))
            bars = shown(page, "probabilities")
            np.testing.assert_allclose(bars.sum(axis=0), 1, rtol=0, atol=1e-9)
            for column, z in zip(bars.T, numbers.logits.values(), strict=True):
                np.testing.assert_allclose(column, softmax(z[[sample]], 2.0**exponent)[0], rtol=0, atol=1e-6)


def test_the_slopes_are_the_gradient_of_the_distillation_loss(page_files: dict[str, Path], visit: Any) -> None:
    page, numbers = visit(page_files["digits"]), embedded(page_files["digits"])
    sample, v = sample_of(page, numbers), numbers.logits["teacher"]
    label = np.array([numbers.labels[sample]])
    for student in ("labels alone", "label smoothing", "distilled"):
        page.select_option("#student", label=student)
        z = numbers.logits[student][[sample]]
        for exponent, w in ((-2, 0.9), (0, 0), (2, 0.5), (3.3, 1), (5, 0.37)):
            page.eval_on_selector("#temperature", SET, str(exponent))
            page.eval_on_selector("#weight", SET, str(w))
            dz = distillation_loss(z, label, v[[sample]], temperature=2.0**exponent, soft_weight=w)[1][0]
            from_label, from_teacher, together = shown(page, "slopes").T
            np.testing.assert_allclose(together, dz, rtol=0, atol=1e-6)
            np.testing.assert_allclose(from_label + from_teacher, together, rtol=0, atol=1e-9)
            hard = (1 - w) * (softmax(z)[0] - np.eye(10)[label[0]])
            np.testing.assert_allclose(from_label, hard, rtol=0, atol=1e-6)


def test_slopes_are_drawn_to_both_sides_of_zero(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"])
    values = shown(page, "slopes").ravel()
    ends = page.evaluate(
        "[...document.querySelectorAll('#slopes i')].map(b => [parseFloat(b.style.left), parseFloat(b.style.width)])"
    )
    for value, (left, width) in zip(values, ends, strict=True):
        assert (left if value >= 0 else left + width) == pytest.approx(50, abs=1e-3)
    assert min(values) < 0 < max(values) and max(width for _, width in ends) > 20  # the scale fits


def test_the_temperature_moves_by_keys_and_by_dragging_and_bars_follow(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"])
    slider, before = page.locator("#temperature"), bar_widths(page)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert float(slider.get_attribute("aria-valuetext")) == pytest.approx(2**2.1, rel=0.01)
    for key, text in (("Home", "0.25"), ("End", "32")):
        page.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == page.inner_text("#temperature-value") == text
        assert bar_widths(page) != before
    hot = bar_widths(page)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 11, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert float(slider.get_attribute("aria-valuetext")) < 2 and bar_widths(page) != hot
    page.click("#reset")
    assert slider.get_attribute("aria-valuetext") == "4" and bar_widths(page) == before


@pytest.mark.parametrize("name", ["digits", "compare"])
def test_the_explorer_opens_where_the_teacher_is_right_and_the_student_on_labels_wrong(
    page_files: dict[str, Path], visit: Any, name: str
) -> None:
    page, numbers = visit(page_files[name]), embedded(page_files[name])
    labels, answers = np.array(numbers.labels), {name: z.argmax(axis=1) for name, z in numbers.logits.items()}
    shown_student = page.eval_on_selector("#student", "e => e.selectedOptions[0].textContent")
    good = (answers["teacher"] == labels) & (answers["labels alone"] != labels)
    best = good & (answers[shown_student] == labels)
    sample = sample_of(page, numbers)
    assert good.any() and good[sample]
    candidates = np.flatnonzero(best if best.any() else good)
    doubt = 1 - softmax(numbers.logits["teacher"], 4.0)[np.arange(len(labels)), labels]
    assert sample == candidates[doubt[candidates].argmax()]
    assert page.input_value("#is") == str(labels[sample])
    assert page.input_value("#for") == str(answers["labels alone"][sample])
    chosen = page.locator("#strip input:checked")
    assert chosen.count() == 1 and chosen.get_attribute("value") == str(sample)
    strip, card = page.locator("#strip").bounding_box(), page.locator(".card:has(:checked)").bounding_box()
    assert strip["x"] <= card["x"] and card["x"] + card["width"] <= strip["x"] + strip["width"]  # it is in sight


def test_the_explorer_opens_on_another_disagreement_or_else_on_the_greatest_doubt(
    page_files: dict[str, Path], visit: Any, tmp_path: Path
) -> None:
    numbers = embedded(page_files["digits"])
    labels, teacher = np.array(numbers.labels), numbers.logits["teacher"]
    wrong = int(np.flatnonzero(teacher.argmax(axis=1) != labels)[0])
    disagreeing = teacher.copy()
    disagreeing[wrong] = 10 * np.eye(10)[labels[wrong]]
    doubt = 1 - softmax(teacher, 4.0)[np.arange(len(labels)), labels]
    assert doubt.argmax() != wrong
    text, old = page_files["digits"].read_text(), numbers.logits["labels alone"]
    for alone, expected in ((disagreeing, wrong), (teacher, doubt.argmax())):
        before, after = (b64encode(z.astype("<f4").tobytes()).decode() for z in (old, alone))
        assert text.count(before) == 1
        path = tmp_path / f"{expected}.html"
        path.write_text(text.replace(before, after))
        assert sample_of(visit(path), numbers) == expected


def test_the_strip_ranks_a_class_by_how_the_teacher_leans_to_another(page_files: dict[str, Path], visit: Any) -> None:
    page, numbers = visit(page_files["digits"]), embedded(page_files["digits"])
    page.select_option("#is", label="8")
    page.select_option("#for", label="1")
    page.eval_on_selector("#temperature", SET, "3")
    eights = np.flatnonzero(np.array(numbers.labels) == 8)
    q = softmax(numbers.logits["teacher"][eights], 8.0)[:, 1]
    cards = page.eval_on_selector_all("#strip input", "all => all.map(r => r.getAttribute('aria-label'))")
    order = np.argsort(-q)
    assert cards == [f"Test image {numbers.index[eights[i]]}, 8, {q[i]:.3f}" for i in order]
    page.select_option("#for", label="8")
    assert "choose two different classes" in page.inner_text("#order")


CONTROLS = "a[href], button, select, input:not([type=radio]), summary, audio, [tabindex='0']"


@pytest.mark.parametrize("name", ["digits", "compare"])
def test_keys_alone_reach_every_control(page_files: dict[str, Path], visit: Any, name: str) -> None:
    page = visit(page_files[name])
    wanted = page.eval_on_selector_all(
        CONTROLS, "all => all.filter(e => e.checkVisibility()).map((e, i) => { e.dataset.i = i; return String(i); })"
    )
    reached = []
    for _ in range(len(wanted) + 2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.i || document.activeElement.name"))
        outline = page.evaluate(
            "(e => getComputedStyle(e.name === 'sample' ? e.parentNode : e).outlineWidth)(document.activeElement)"
        )
        assert outline == "3px" or reached[-1] is None  # the focus can be seen
    assert {*wanted, "sample"} <= set(reached)


def test_keys_alone_operate_every_control(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"])

    def press(selector: str, key: str, script: str) -> None:
        before = page.evaluate(script)
        page.locator(selector).focus()
        page.keyboard.press(key)
        assert page.evaluate(script) != before, f"{key} on {selector} does nothing"

    heading, slopes = "document.querySelector('#sample-name').innerText", "document.querySelector('#slopes').innerText"
    press("#strip input:checked", "ArrowRight", heading)
    press("#is", "ArrowUp", heading)
    press("#for", "ArrowUp", "document.querySelector('#order').innerText")
    press("#weight", "ArrowLeft", slopes)
    press("#student", "ArrowUp", slopes)
    press("#reset", "Enter", slopes)
    press("#scheme", "Space", "getComputedStyle(document.body).backgroundColor")
    press("summary >> nth=0", "Enter", "document.querySelector('details').open")
    press("a[href='#pictures']", "Enter", "location.hash")


@pytest.mark.parametrize("name", ["digits", "compare"])
def test_every_control_picture_and_region_has_a_name(page_files: dict[str, Path], visit: Any, name: str) -> None:
    page = visit(page_files[name])
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    by_role: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            by_role.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", "").strip())
    for role in ("slider", "combobox", "radio", "button", "link", "image", "region", "navigation", "table"):
        assert by_role.get(role) and all(by_role[role]), role
    for role in ("main", "banner", "contentinfo"):
        assert len(by_role[role]) == 1, role
    assert {"Temperature T", "Soft weight w"} == set(by_role["slider"])
    assert {"Test images of", "that the teacher may take for", "Student", "Label"} == set(by_role["combobox"])


CONTRAST = """() => {
  const channels = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const s = channels(c)[i] / (c.startsWith('color(') ? 1 : 255);  // what color-mix() makes is in [0, 1]
    return sum + weight * (s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor, alpha = channels(colour)[3];
      if (alpha === undefined || alpha === 1) return colour;
    }
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('svg, script, .skip')) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim()]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(page_files: dict[str, Path], visit: Any, scheme: str) -> None:
    for name in ("digits", "compare"):
        page = visit(page_files[name], color_scheme=scheme)
        page.click("summary")
        ratios = page.evaluate(CONTRAST)
        assert len(ratios) > 100 and ratios[0][0] >= 4.5, ratios[:5]


def test_the_scheme_follows_the_system_and_the_button(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"], color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert page.get_attribute("#scheme", "aria-pressed") == "true"
    page.click("#scheme")
    assert page.get_attribute("#scheme", "aria-pressed") == "false" and page.evaluate(ground) == "rgb(255, 255, 255)"
    page.click("#scheme")
    assert page.evaluate(ground) == dark != "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_never_scrolls_sideways(page_files: dict[str, Path], visit: Any, width: int) -> None:
    for name in ("digits", "compare"):
        page = visit(page_files[name], width)
        page.click("summary")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


HEIGHT_OF_A_PHONE = 640  # pixels that a browser leaves of a small phone's screen
EDGE = 360 - 16 + 1  # where the page's margin begins on it
IN_SIGHT = """([box, width, height]) => [...document.querySelectorAll(box)].map((cell) => {
  const { left, right, top, bottom } = cell.getBoundingClientRect();
  return left >= 0 && right <= width && top >= 0 && bottom <= height;
})"""


@pytest.mark.parametrize(("name", "columns"), [("digits", ["errors", "NLL"]), ("compare", ["errors %", "fewer by"])])
@pytest.mark.parametrize("height", [HEIGHT_OF_A_PHONE, 740])
def test_the_first_screen_of_a_phone_shows_the_two_columns_that_matter_and_that_the_table_scrolls(
    page_files: dict[str, Path], visit: Any, name: str, columns: list[str], height: int
) -> None:
    page = visit(page_files[name], 360)
    page.set_viewport_size({"width": 360, "height": height})
    heads = page.eval_on_selector_all(".scroll:first-of-type thead th", "all => all.map(e => e.innerText)")
    assert heads[1:3] == columns
    if name == "digits":  # as wide as with several seeds
        for nth, text in ((2, "61.8±14.0"), (3, "0.453±0.161")):
            cells = f"#results .scroll:first-of-type td:nth-child({nth})"
            page.eval_on_selector_all(cells, "(all, text) => all.forEach(e => { e.textContent = text; })", text)
    for nth in (1, 2, 3):
        rows = page.evaluate(IN_SIGHT, [f"#results .scroll:first-of-type tr > :nth-child({nth})", EDGE, height])
        assert len(rows) >= 5 and all(rows)
    hint = page.locator("#results .more").first
    out_of_sight = page.evaluate(IN_SIGHT, ["#results .scroll:first-of-type thead th", EDGE, height]).count(False)
    page.wait_for_function("n => document.querySelector('.more').textContent.startsWith(n)", arg=f"{out_of_sight} more")
    assert hint.inner_text() == f"{out_of_sight} more columns: scroll sideways →" and out_of_sight > 2
    box = hint.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= height


def test_a_table_says_that_it_scrolls_only_where_it_does(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"], 1440)
    assert page.locator(".more:visible").count() == 0
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_selector(".more:visible")
    hint, box = page.locator("#results .more").first, page.locator("#results .scroll").first
    before = hint.inner_text()
    box.evaluate("e => e.scrollBy({ left: 90, behavior: 'instant' })")
    page.wait_for_function("before => document.querySelector('.more').textContent !== before", arg=before)
    assert re.fullmatch(r"\d more columns?: scroll sideways →", hint.inner_text()) and hint.inner_text() < before
    box.evaluate("e => e.scrollTo({ left: 10000, behavior: 'instant' })")
    page.wait_for_function("() => document.querySelector('.more').textContent === '← scroll back'")
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).backgroundImage").count("gradient") == 2


def test_on_a_phone_the_temperature_stays_in_sight_of_the_bars(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"], 360)
    for table in ("#probabilities", "#slopes"):
        page.eval_on_selector(f"{table} tbody", "e => e.scrollIntoView({ block: 'center', behavior: 'instant' })")
        box = page.locator("#temperature").bounding_box()
        assert 0 <= box["y"] < 120
        on_top = page.evaluate("([x, y]) => document.elementFromPoint(x, y).id", [180, box["y"] + box["height"] / 2])
        assert on_top == "temperature"


def test_motion_stops_where_it_is_not_wanted(page_files: dict[str, Path], visit: Any) -> None:
    duration = "getComputedStyle(document.querySelector('#probabilities i')).transitionDuration.split(',')[0]"
    assert visit(page_files["digits"], reduced_motion="reduce").evaluate(duration) == "0s"
    assert visit(page_files["digits"], reduced_motion="no-preference").evaluate(duration) == "0.12s"


def test_a_drag_is_told_once_after_it_rests(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"])
    page.wait_for_function("() => document.querySelector('#news').textContent")
    page.evaluate("""() => {
      window.told = 0;
      new MutationObserver(() => { told += 1; }).observe(document.querySelector('#news'), { childList: true });
    }""")
    page.focus("#temperature")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => told > 0")
    page.wait_for_timeout(100)
    assert page.evaluate("told") == 1 and "temperature 8. teacher: " in page.inner_text("#news")


def test_a_comparison_shows_the_method_that_is_picked(page_files: dict[str, Path], visit: Any) -> None:
    page, numbers = visit(page_files["compare"]), embedded(page_files["compare"])
    sample = sample_of(page, numbers)
    for method in ("kd", "dkd"):
        page.select_option("#student", label=method)
        heads = page.eval_on_selector_all("#probabilities thead th", "all => all.map(e => e.textContent)")
        assert heads == ["class", "teacher", "labels alone", method]
        expected = softmax(numbers.logits[method][[sample]], 4.0)[0]
        np.testing.assert_allclose(shown(page, "probabilities")[:, 2], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_equal_counts_have_one_colour_in_all_confusion_matrices_and_in_their_legend(
    page_files: dict[str, Path], visit: Any, scheme: str
) -> None:
    page = visit(page_files["digits"], color_scheme=scheme)
    assert page.locator(".confusion").count() == 4
    assert "One colour scale for all networks" in page.inner_text(".scale")
    script = "all => all.map(e => [e.textContent, getComputedStyle(e).backgroundColor])"
    cells = page.eval_on_selector_all(".confusion [style]", script)
    legend = dict(page.eval_on_selector_all(".scale [style]", script))
    colours: dict[str, set[str]] = {}
    for count, colour in cells:
        colours.setdefault(count, set()).add(colour)
    assert len(colours) > 3 and all(len(each) == 1 for each in colours.values())
    assert len({colour for _, colour in cells}) == len(colours)  # and other counts another one
    assert max(map(int, legend)) == max(map(int, colours))
    assert any(count in colours for count in legend)
    assert all(colours[count] == {colour} for count, colour in legend.items() if count in colours)


def test_hostile_names_and_texts_are_shown_as_text(
    page_files: dict[str, Path], visit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data("digits")
    names = (HOSTILE, *data.class_names[1:])
    monkeypatch.setattr(report, "load_data", lambda name: data._replace(class_names=names, image_shape=None))
    hostile = DATASETS["digits"]._replace(test_texts=lambda: [f"{HOSTILE}{i}" for i in range(536)], summary=HOSTILE)
    monkeypatch.setattr(report, "DATASETS", {"digits": hostile})
    path = tmp_path / "hostile.html"
    path.write_text(report.build(page_files["digits"].parent))
    page = visit(path)
    page.select_option("#is", label=HOSTILE)
    assert page.inner_text("#sample-name").endswith(HOSTILE)
    assert HOSTILE in page.inner_text("#sample") and HOSTILE in page.inner_text("#strip")
    assert HOSTILE in page.inner_text("#slopes") and HOSTILE in page.inner_text(".settings")
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(("name", "batch_size"), [("mnist", 512), ("fsdd", 64), ("udhr", 256)])
def test_the_page_of_every_data_set_is_small_and_works(
    name: str, batch_size: int, visit: Any, tmp_path: Path, data_dir: Path
) -> None:
    path = report.write(quick_run(tmp_path, name, epochs=1, batch_size=batch_size))
    assert path.stat().st_size < LARGEST
    page, numbers = visit(path, 360), embedded(path)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if name == "udhr":
        assert page.locator("#sample q").inner_text() == numbers.texts[sample_of(page, numbers)]
        bars = shown(page, "probabilities")
        assert bars.shape[0] < 15 and "others" in page.inner_text("#probabilities")
        np.testing.assert_allclose(bars.sum(axis=0), 1, rtol=0, atol=1e-9)
        page.focus("#all")
        page.keyboard.press("Space")
        assert shown(page, "probabilities").shape[0] == 26
    else:
        assert page.evaluate("document.querySelector('#sample canvas').width") == load_data(name).image_shape[1]
    if name == "fsdd":
        page.wait_for_function("() => document.querySelector('audio').duration > 0.1")
        assert 0.1 < page.evaluate("document.querySelector('audio').duration") < 3


def test_the_page_prints_light_and_without_its_controls(page_files: dict[str, Path], visit: Any) -> None:
    page = visit(page_files["digits"], color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#strip").is_visible() and page.locator("#probabilities").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
