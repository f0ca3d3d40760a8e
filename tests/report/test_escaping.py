"""Names from files and folders are text on the page, whatever they hold: none opens or closes an element."""

import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json
from oltr_cli.report.choose import choose
from oltr_cli.report.content import collect
from oltr_cli.report.page import render
from oltr_cli.report.pictures import Picture
from tests.helpers.fake_runs import fake_methods, make_run

FOLDER = """<img src=x onerror="alert(1)">'&]]>{{7*7}}{% raw %}"""  # a folder's name has no slash
TEXT = f"</script><script>alert(1)</script></pre><!--{FOLDER}"


class Parsed(HTMLParser):
    """A page as a browser reads it: elements with the names of their attributes, their values, text, and the JSON."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: set[str | None] = set()
        self.text = self.data = ""
        self.in_data = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Which cell of a column is the best, and so has a class, differs: the runs of the pages have other scores.
        names = tuple(name for name, _ in attrs if (tag, name) != ("td", "class"))
        self.elements.append((tag, names))
        self.values |= {value for _, value in attrs}
        self.in_data = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))
        self.in_data = False

    def handle_data(self, data: str) -> None:
        if self.in_data:
            self.data += data
        else:
            self.text += data


def write_runs(root: Path, folder: str, text: str) -> None:
    """Two finished runs and a failed one; ``folder`` is in the names of their folders, ``text`` inside their files."""
    for seed in (0, 1):
        run = make_run(root, f"data {folder}", f"method {folder}", seed)
        result = read_json(run.path / "result.json")
        result |= {"class_names": [f"{text}{i}" for i in range(10)], "starts_from": text}
        result["metrics"] = {"closed/overall": 0.5 + 0.1 * seed, "open/f_measure": 0.25}  # whatever the names
        (run.path / "result.json").write_text(json.dumps(result))
        facts = {"commit": text, "device": text, "precision": text, "command": ["oltr", text], "platform": text}
        (run.path / "environment.json").write_text(json.dumps(facts))
        (run.path / "recipe.toml").write_text(f"# {text}\n", encoding="utf-8", errors="surrogateescape")
    failed = root / f"data {folder}" / f"method {folder}" / "0000000000-s0"
    failed.mkdir(parents=True)
    (failed / "recipe.toml").write_text("x")
    (failed / "result.json").write_text(json.dumps({"status": "failed", "error": text}))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Makes the page on such runs."""

    def make(folder: str, text: str, of_pictures: str = "") -> str:
        root = tmp_path / f"runs {len(list(tmp_path.iterdir()))}"
        write_runs(root, folder, text)
        monkeypatch.setenv("OLTR_RUNS", str(root))
        said = of_pictures or text
        pictures = [Picture("6", said, "data:,", said), Picture("7", said, "", said, said)]
        monkeypatch.setattr("oltr_cli.report.content.paper_figures", lambda *_: pictures)
        return render(collect(choose(f"data {folder}"), ["3a"], Display(quiet=True)))

    fake_methods(monkeypatch)
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    return make


def test_hostile_names_leave_the_page_its_elements(page):
    harmless, hostile = Parsed(page("folder-name", "text-inside-files")), Parsed(page(FOLDER, TEXT))
    assert hostile.elements == harmless.elements
    shown = hostile.text.count(TEXT) + hostile.text.count(shlex.quote(TEXT))  # commands are quoted for the shell
    assert shown == harmless.text.count("text-inside-files") >= 12
    shown = hostile.text.replace(TEXT, "").count(FOLDER)
    assert shown == harmless.text.count("folder-name") >= 12
    assert {TEXT, f"data {FOLDER}/method {FOLDER}/0123456789-s1"} <= hostile.values
    data = json.loads(hostile.data)
    assert data["classSets"][0]["names"][0] == f"{TEXT}0"
    assert data["runs"][0]["run"] == f"data {FOLDER}/method {FOLDER}/0123456789-s0"
    assert not set(hostile.data) & set("<>&")


def test_a_file_name_that_is_not_utf8_does_not_stop_the_page(page):
    assert "caf?.png" in page("folder-name", "text-inside-files", "caf\udce9.png").encode().decode()
