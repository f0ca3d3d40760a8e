"""The page of ``oltr report`` in a real browser: headless Chromium, driven through its own driver, no network."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.protocol.metrics import accepted, all_metrics
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.report.choose import choose
from oltr_cli.report.content import collect
from oltr_cli.report.page import render
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores
from tests.helpers.fake_runs import CLASS_COUNTS, make_run

ATTACK = "</script><script>window.attacked = 1</script><img src=x onerror='window.attacked = 2'>"
NAMES = ["goldfish", ATTACK, "çınar & 木", *(f"thing {i}" for i in range(3, 10))]


def programs() -> tuple[str | None, str | None]:
    return shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")


if None in programs() and not os.environ.get("CI"):
    pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver", allow_module_level=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A Chromium without a network of its own; it keeps a log of its console and of every request."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    chromium, driver = programs()
    assert chromium, "continuous integration has no chromium"
    assert driver, "continuous integration has no chromedriver"
    options = Options()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        f"user-data-dir={profile}",
        "window-size=1280,900",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Runs of plain, dme and range on "somewhere", whose classes have odd names, and the images they were made of."""
    home = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    data = home / "data" / "somewhere"
    splits = {"train": 10, "val": 10, "test": 300, "open": 120}
    data.mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(data / "x.png")
    for split, size in splits.items():
        names = [f"{split}/{i} a.png" for i in range(size)]
        (data / split).mkdir()
        for name in names:
            (data / name).hardlink_to(data / "x.png")
        labels = [-1 if split == "open" else i % 10 for i in range(size)]
        (data / f"{split}.txt").write_text("".join(f"{n} {k}\n" for n, k in zip(names, labels, strict=True)))
    for method in ("plain", "dme", "range"):
        run = make_run(home / "runs", "somewhere", method)
        (run.path / "recipe.toml").write_text(f'# {ATTACK}\n[data]\nname = "somewhere"\n')
        result = read_json(run.path / "result.json")
        (run.path / "result.json").write_text(json.dumps({**result, "class_names": NAMES}))
        for split in ("test", "open"):
            s = SavedScores.load(run.scores(split))
            paths = np.array([f"{split}/{i} a.png" for i in range(len(s))])
            logits = 6 * np.eye(10)[s.prediction] if method == "dme" else None
            SavedScores(s.prediction, s.confidence, s.labels, logits, paths=paths).save(run.scores(split))
    return home


@pytest.fixture(scope="module")
def file(root):
    """The report as a file; its folder holds nothing else."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OLTR_RUNS", str(root / "runs"))
    patch.setenv("OLTR_DATA", str(root / "data"))
    path = root / "page" / "a report.html"
    path.parent.mkdir()
    path.write_text(render(collect(choose("somewhere"), ["3a"], Display(quiet=True))), encoding="utf-8")
    patch.undo()
    return path


@pytest.fixture
def page(browser, file):
    """The browser with the page opened anew, and its logs empty."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(file.as_uri())
    browser.execute_script("sessionStorage.clear()")
    browser.refresh()
    return browser


def one(page, selector: str):
    return page.find_element("css selector", selector)


def texts(page, selector: str) -> list[str]:
    """What is written in the elements, hidden ones too."""
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return page.execute_script(script, selector)


def visible(page, table: str, column: int) -> list[str]:
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].filter(row => row.offsetParent !== null)"
        ".map(row => row.cells[arguments[1]].textContent)"
    )
    return page.execute_script(script, table, column)


def set_slider(page, at: int) -> float:
    """Move the slider as a hand does, and return the τ that is then shown."""
    page.execute_script(
        "const s = document.getElementById('tau'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))", at
    )
    return float(one(page, "#tau-shown").get_attribute("data-tau"))


def expected(root: Path, method: str, tau: float) -> dict[str, str]:
    """The numbers at τ as the page should write them, from the scores on disk."""
    run = Run(root / "runs", "somewhere", method, "0123456789", 0)
    known, open_ = SavedScores.load(run.scores("test")), SavedScores.load(run.scores("open"))
    metrics = all_metrics(known, open_, CLASS_COUNTS, tau)
    fractions = {name: metrics[f"open/{name}"] for name in ("f_measure", "f_measure_2019")}
    shares = {name: metrics[f"open/{name}"] for name in ("overall", "many", "medium", "few")}
    shares |= {"known_rejected": 1 - accepted(known, tau).mean(), "open_rejected": 1 - accepted(open_, tau).mean()}
    return {**{k: f"{v:.3f}" for k, v in fractions.items()}, **{k: f"{100 * v:.1f}" for k, v in shares.items()}}


def assert_numbers(page, root: Path, method: str, tau: float) -> None:
    for key, number in expected(root, method, tau).items():
        shown = one(page, f'#at-tau [data-key="{key}"]').text
        # The last digit may differ where a number lies half way between two.
        assert float(shown) == pytest.approx(float(number), abs=0.0011 if "f_measure" in key else 0.11), (key, tau)
        assert len(shown) == len(number)


def choose_run(page, method: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(one(page, "#run")).select_by_visible_text(f"{method}, seed 0 (0123456789)")


def test_it_loads_without_an_error_and_asks_for_nothing(page, file):
    for method in ("plain", "range", "dme"):
        choose_run(page, method)
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert asked
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}


def test_the_policy_is_in_force(page):
    """An image from elsewhere and a foreign script are refused: the page is not merely well-behaved."""
    page.execute_script(
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://example.invalid/x.png'}));"
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.attacked = 3'}))"
    )
    refused = " ".join(entry["message"] for entry in page.get_log("browser"))
    assert "img-src" in refused
    assert "script-src" in refused
    assert page.execute_script("return window.attacked") is None


def test_names_are_shown_and_do_nothing(page):
    assert ATTACK in texts(page, "#classes tbody th")
    assert page.execute_script("return window.attacked") is None
    assert any(ATTACK in text for text in texts(page, ".of-run pre"))
    assert page.execute_script("return document.querySelectorAll('script').length") == 2


def test_the_slider_moves_the_numbers(page, root):
    last = int(one(page, "#tau").get_attribute("max"))
    choose_run(page, "plain")
    assert float(one(page, "#tau-shown").get_attribute("data-tau")) == 0.1
    assert_numbers(page, root, "plain", 0.1)
    seen = set()
    for at in (0, last // 5, last // 3, last // 2, last):
        tau = set_slider(page, at)
        assert_numbers(page, root, "plain", tau)
        seen.add((tau, one(page, '#at-tau [data-key="f_measure"]').text, one(page, "#marker").get_attribute("x1")))
    assert len({tau for tau, _, _ in seen}) == 5
    assert len({number for _, number, _ in seen}) >= 4
    assert len({place for _, _, place in seen}) == 5
    choose_run(page, "dme")
    assert_numbers(page, root, "dme", set_slider(page, last // 2))


def test_a_threshold_is_shown_in_all_its_digits(page, root):
    """What is read off the page is the very τ whose numbers stand beside it, also when typed as fixed:τ."""
    choose_run(page, "plain")
    lengths = set()
    for at in range(0, int(one(page, "#tau").get_attribute("max")), 37):
        tau = set_slider(page, at)
        shown = one(page, "#tau-shown").text
        assert float(shown) == tau
        assert_numbers(page, root, "plain", ThresholdRule.parse(f"fixed:{shown}").argument)
        assert one(page, "#tau").get_attribute("aria-valuetext") == f"τ = {shown}"
        lengths.add(len(shown))
    assert max(lengths) > 7


def test_the_keyboard_moves_the_slider_and_a_button_brings_it_back(page, root):
    from selenium.webdriver.common.keys import Keys

    slider = one(page, "#tau")
    before = float(one(page, "#tau-shown").get_attribute("data-tau"))
    slider.send_keys(Keys.ARROW_RIGHT)
    after = float(one(page, "#tau-shown").get_attribute("data-tau"))
    assert after > before
    assert "τ = " in slider.get_attribute("aria-valuetext")
    button = one(page, ".marks button")
    assert button.get_attribute("aria-pressed") == "false"
    button.send_keys(Keys.ENTER)
    assert float(one(page, "#tau-shown").get_attribute("data-tau")) == 0.1
    assert button.get_attribute("aria-pressed") == "true"


def test_a_click_into_the_plot_sets_the_threshold(page):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(page).move_to_element(one(page, ".plot")).click().perform()
    tau = page.execute_script("return JSON.parse(document.getElementById('data').textContent).runs[0].curve.tau")
    shown = float(one(page, "#tau-shown").get_attribute("data-tau"))
    assert shown == pytest.approx((tau[0] + tau[-1]) / 2, abs=0.05)


def test_the_gallery_follows_the_threshold(page, root):
    last = int(one(page, "#tau").get_attribute("max"))
    set_slider(page, 0)
    tiles = ".kind[data-kind={}] .tile"
    assert texts(page, tiles.format("known_as_unknown")) == []
    assert len(texts(page, tiles.format("unknown_as_known"))) == 12
    set_slider(page, last)
    assert len(texts(page, tiles.format("known_as_unknown"))) == 12
    assert all("rejected, nearest" in text for text in texts(page, tiles.format("known_as_unknown")))
    sizes = page.execute_script(
        "return Promise.all([...document.querySelectorAll('.tile img')]"
        ".map(image => image.decode().then(() => image.naturalWidth)))"
    )
    assert sizes
    assert set(sizes) == {96}


def test_confusions_are_those_of_the_chosen_run(page, root):
    for method in ("plain", "dme"):
        choose_run(page, method)
        run = Run(root / "runs", "somewhere", method, "0123456789", 0)
        found = Confusions.of(SavedScores.load(run.scores("test")), SavedScores.load(run.scores("open")), 10, 0.1)
        places = found.largest()
        assert visible(page, "confusions", 0) == [[*NAMES, "open"][label] for label in found.true[places]]
        assert visible(page, "confusions", 1) == [[*NAMES, "unknown"][label] for label in found.decided[places]]
        assert visible(page, "confusions", 2) == [str(count) for count in found.count[places]]
        shares = [float(share) for share in visible(page, "confusions", 3)]
        assert shares == pytest.approx((100 * found.share[places]).tolist(), abs=0.06)
    assert ATTACK in visible(page, "confusions", 0)
    assert page.execute_script("return window.attacked") is None


def test_mistakes_and_doubtful_labels_are_named(page):
    tiles = ".kind[data-kind={}] .tile"
    choose_run(page, "plain")
    known = texts(page, tiles.format("known_as_other"))
    assert len(known) == 12
    assert all("mistaken for" in text and text.endswith(" a.png") for text in known)
    assert any("the scores have none" in text for text in texts(page, "#gallery .notes"))  # plain's have no logits
    choose_run(page, "dme")
    doubtful = texts(page, tiles.format("perhaps_mislabelled"))
    assert len(doubtful) == 12
    assert all("perhaps" in text and "label’s probability (test)" in text for text in doubtful)
    assert all(text.endswith(" a.png") for text in doubtful)


def test_tables_sort_by_mouse_and_keyboard_and_say_so(page):
    from selenium.webdriver.common.keys import Keys

    choose_run(page, "plain")
    head = one(page, "#classes thead th:nth-child(3)")
    button = head.find_element("css selector", "button")
    assert head.get_attribute("aria-sort") == "none"
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [int(x) for x in visible(page, "classes", 2)] == sorted(CLASS_COUNTS, reverse=True)
    button.send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert [int(x) for x in visible(page, "classes", 2)] == sorted(CLASS_COUNTS)
    choose_run(page, "dme")  # the order stays
    assert [int(x) for x in visible(page, "classes", 2)] == sorted(CLASS_COUNTS)
    one(page, "#classes thead th:nth-child(1) button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "none"
    names = visible(page, "classes", 0)
    assert sorted(names) == sorted(NAMES)
    assert names.index("goldfish") < names.index("thing 3") < names.index("thing 9")


def test_the_papers_table_fits_its_measured_columns_below_one_head_a_setting(page):
    assert texts(page, "#table-0 .groups th") == ["closed-set setting", "open-set setting"]
    heads = "return [...document.querySelectorAll('#table-0 thead tr:last-child th')].map(h => h.innerText.trim())"
    assert page.execute_script(heads)[0] == "method"
    edges = "return arguments[0].getBoundingClientRect().%s"
    place = page.execute_script(edges % "right", one(page, "#table-0 thead tr:last-child th:nth-child(9)"))
    assert "measure" in texts(page, "#table-0 thead tr:last-child th:nth-child(9)")[0]
    assert place <= page.execute_script(edges % "right", one(page, "#tables .scroll"))


def test_heads_and_names_stay_in_sight(page):
    """Both rows of heads while rows go by, the names while columns do, and a name below the heads."""
    box = one(page, "#tables .scroll")
    page.execute_script(
        "arguments[0].style.maxHeight = '12rem'; arguments[0].style.maxWidth = '30rem'; arguments[0].scrollTop = 150;"
        "arguments[0].scrollLeft = 200; arguments[0].scrollIntoView({block: 'center'})",
        box,
    )
    rect = "const r = arguments[0].getBoundingClientRect(); return [r.left, r.top, r.bottom]"
    left, top, _ = page.execute_script(rect, box)
    _, first, above = page.execute_script(rect, one(page, "#table-0 .groups"))
    _, second, _ = page.execute_script(rect, one(page, "#table-0 thead tr:last-child"))
    assert first == pytest.approx(top, abs=2)
    assert second == pytest.approx(above, abs=2)
    for name in ("#table-0 thead tr:last-child th", "#table-0 tbody th", "#table-0 .groups td"):
        assert page.execute_script(rect, one(page, name))[0] == pytest.approx(left, abs=2)
    on_top = (
        "const r = arguments[0].getBoundingClientRect();"
        "return document.elementFromPoint(r.left + 9, r.top + 9).closest('tr').className"
    )
    assert page.execute_script(on_top, one(page, "#table-0 .groups td")) == "groups"


def test_missing_values_come_last_both_ways(page):
    button = one(page, "#table-0 thead th:nth-child(2) button")
    for _ in range(2):
        button.click()
        values = page.execute_script(
            "return [...document.querySelectorAll('#table-0 tbody tr')].map(r => r.cells[1].dataset.v ?? null)"
        )
        there = [value is not None for value in values]
        assert 0 < sum(there) < len(there)
        assert there == sorted(there, reverse=True)
    measured = [float(value) for value in values if value is not None]
    assert measured == sorted(measured)


def test_the_filter_leaves_what_fits(page):
    field = one(page, '[data-filters="classes"]')
    field.send_keys("THING few")
    counts = [CLASS_COUNTS[NAMES.index(name)] for name in visible(page, "classes", 0)]
    assert counts == [c for c in CLASS_COUNTS[3:] if c < 20]
    assert one(page, '[data-counts="classes"]').text == f"{len(counts)} of 10 rows"
    field.send_keys(" nonsense")
    assert visible(page, "classes", 0) == []
    field.clear()
    field.send_keys("木")
    assert visible(page, "classes", 0) == [NAMES[2]]


def test_a_page_that_loads_itself_again_stays_where_it_was(page):
    choose_run(page, "range")
    tau = set_slider(page, 123)
    page.refresh()
    assert one(page, "#run").get_attribute("value") == "2"
    assert float(one(page, "#tau-shown").get_attribute("data-tau")) == tau


def test_a_link_in_the_table_of_all_numbers_chooses_the_run(page):
    page.execute_script("document.querySelector('a[data-run^=\"somewhere/range\"]').click()")
    assert one(page, "#run").get_attribute("value") == "2"


@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_no_wider_than_the_screen(page, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, scheme):
    """WCAG's contrast of 4.5 for the text colours in both schemes."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        read = (
            "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]].match(/[\\d.]+/g).map(Number)"
        )

        def luminance(selector: str, name: str) -> float:
            rgb = np.array(page.execute_script(read, selector, name)[:3]) / 255
            linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            return float(linear @ [0.2126, 0.7152, 0.0722])

        ground = luminance("body", "backgroundColor")
        assert (ground > 0.5) == (scheme == "light")
        for selector in ("body", ".about", "nav a", "#classes caption"):
            low, high = sorted((ground, luminance(selector, "color")))
            assert (high + 0.05) / (low + 0.05) >= 4.5, selector
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
