"""``oltr report``: its numbers against a second computation, and a page that is whole, safe and honest."""

import json
import os
import re
import shlex
import signal
import threading
import time
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from oltr_cli.base.display import Display
from oltr_cli.base.files import read_json
from oltr_cli.commands.report import report
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.errors import UsageProblem
from oltr_cli.protocol.confusions import Confusions, most_confused
from oltr_cli.protocol.metrics import accepted, all_metrics
from oltr_cli.protocol.mistakes import PER_KIND, find_mistakes
from oltr_cli.protocol.per_class import PerClass
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.recipe.data import DataSpec
from oltr_cli.report import watch as watching
from oltr_cli.report.choose import choose, tables_for
from oltr_cli.report.content import Cache, collect
from oltr_cli.report.numbers import NUMBERS, POINTS, class_numbers, confusion_numbers, shortest, threshold_numbers
from oltr_cli.report.page import REFRESH, render
from oltr_cli.runs.scores import SavedScores
from tests.helpers.fake_runs import CLASS_COUNTS, fake_methods, make_run, random_scores

NASTY = ["</script><script>alert(1)</script>", "a & b \"c\" 'd'", "çınar 木", "<!-- x", "{{data}}"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Runs of plain and dme (two seeds) on "somewhere"; the current folder is empty."""
    fake_methods(monkeypatch)
    root = tmp_path / "runs"
    monkeypatch.setenv("OLTR_RUNS", str(root))
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for method, seed in (("plain", 0), ("dme", 0), ("dme", 1)):
        make_run(root, "somewhere", method, seed)
    return root


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr("oltr_cli.report.content.paper_figures", lambda *_: [])


def command(*arguments: str):
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, list(arguments))


def data_of(page: str) -> dict:
    """The JSON inside a page, found as a browser finds it: up to the first end of a script element."""
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script', page, re.S)[0])


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**read_json(path), **changes}))


# --- numbers


def pair(seed: int, known: int = 300, open_: int = 120) -> tuple[SavedScores, SavedScores]:
    rng = np.random.default_rng(seed)
    return random_scores(rng, known, False, 2.0), random_scores(rng, open_, True, 2.0)


def test_each_point_is_what_the_metrics_say_at_its_threshold():
    known, open_ = pair(0)
    named = {"fixed:0.1": 0.1, "val_open": 0.437, "outside": 7.0}
    table = threshold_numbers(known, open_, CLASS_COUNTS, "paper", named)
    assert {name: len(values) for name, values in table.items()} == dict.fromkeys(table, len(table["tau"]))
    assert len(table["tau"]) <= POINTS + len(named) <= 512
    assert table["tau"] == sorted(set(table["tau"]))
    assert {0.1, 0.437, 7.0} <= set(table["tau"])
    for i in [*range(0, len(table["tau"]), 17), table["tau"].index(0.437), table["tau"].index(7.0)]:
        tau = json.loads(json.dumps(table["tau"][i]))
        metrics = all_metrics(known, open_, CLASS_COUNTS, tau)
        for name in NUMBERS:
            assert table[name][i] == pytest.approx(metrics[f"open/{name}"], abs=6e-6), (name, tau)
        assert table["known_rejected"][i] == pytest.approx(1 - accepted(known, tau).mean(), abs=6e-6)
        assert table["open_rejected"][i] == pytest.approx(1 - accepted(open_, tau).mean(), abs=6e-6)


def test_a_group_without_test_samples_has_no_curve_and_negative_confidences_have_one():
    known, open_ = pair(1)
    shifted = [SavedScores(s.prediction, s.confidence - 30, s.labels) for s in (known, open_)]
    table = threshold_numbers(*shifted, [300] * 10, "paper", {"fixed:0.1": 0.1})
    assert table["few"] is None
    assert table["medium"] is None
    assert table["tau"][0] < -29
    assert table["known_rejected"][0] == 0
    assert table["known_rejected"][-1] == 1  # at 0.1


def test_one_sample_of_each_is_enough():
    one = SavedScores(np.array([0]), np.array([0.5], np.float32), np.array([0]))
    other = SavedScores(np.array([1]), np.array([0.5], np.float32), np.array([-1]))
    table = threshold_numbers(one, other, [200, 3], "paper", {})
    assert table["f_measure"][0] == pytest.approx(2 / 3, abs=1e-5)
    assert table["few"] is None


def test_thresholds_travel_as_the_shortest_decimals_of_their_float32():
    rng = np.random.default_rng(0)
    for value in [0.1, 0.0, 1.0, -30.25, *rng.normal(size=50)]:
        assert np.float32(shortest(value)) == np.float32(value)
    assert repr(shortest(float(np.float32(0.1)))) == "0.1"


def test_most_confused_by_counting():
    rng = np.random.default_rng(2)
    labels, prediction = rng.integers(0, 6, 200), rng.integers(0, 6, 200)
    labels[labels == 4] = 0
    known = SavedScores(prediction, np.ones(200, np.float32), labels)
    taken_for, share = most_confused(known, 7)
    for label in range(7):
        wrong = [p for p, true in zip(prediction, labels, strict=True) if true == label != p]
        if not wrong:
            assert taken_for[label] == -1
            assert np.isnan(share[label])
            continue
        counts = {p: wrong.count(p) for p in wrong}
        assert taken_for[label] == min(p for p in counts if counts[p] == max(counts.values()))
        assert share[label] == pytest.approx(max(counts.values()) / (labels == label).sum())


def test_a_class_that_is_always_right_or_never_tested_says_so():
    known = SavedScores(np.array([0, 0, 1]), np.array([0.9, 0.2, 0.9], np.float32), np.array([0, 0, 0]))
    open_ = SavedScores(np.array([1]), np.array([0.9], np.float32), np.array([-1]))
    numbers = class_numbers(PerClass.of(known, open_, [300, 50, 5], 0.5))
    assert numbers["test"] == [3, 0, 0]
    assert numbers["closed"] == [0.6667, None, None]
    assert numbers["open"] == [0.3333, None, None]
    assert numbers["rejected"] == [0.3333, None, None]
    assert numbers["as"] == [1, None, None]
    without = class_numbers(PerClass.of(known, None, [300, 50, 5], 0.5))
    assert without["open"] == without["rejected"] == [None] * 3


def test_mistakes_are_those_of_the_most_certain_samples():
    known, open_ = pair(3)
    found = find_mistakes(known, open_, CLASS_COUNTS, "paper")
    groups = shot_groups(CLASS_COUNTS, "paper")
    _, _, rejected = found["known_as_unknown"]
    assert known.confidence[rejected].tolist() == sorted(known.confidence)[:PER_KIND]
    _, _, taken = found["unknown_as_known"]
    assert open_.confidence[taken].tolist() == sorted(open_.confidence, reverse=True)[:PER_KIND]
    _, _, rows = found["tail_as_head"]
    swaps = [i for i in range(300) if groups["few"][known.labels[i]] and groups["many"][known.prediction[i]]]
    assert set(rows.tolist()) <= set(swaps)
    assert known.confidence[rows].tolist() == sorted(known.confidence[swaps], reverse=True)[:PER_KIND]
    assert "unknown_as_known" not in find_mistakes(known, None, CLASS_COUNTS, "paper")


def test_a_thousand_classes_stay_small():
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(1000), 5)
    known = SavedScores(rng.integers(0, 1000, 5000), rng.random(5000).astype(np.float32), labels)
    open_ = SavedScores(rng.integers(0, 1000, 900), rng.random(900).astype(np.float32), np.full(900, -1))
    counts = rng.integers(5, 1200, 1000)
    numbers = {
        "curve": threshold_numbers(known, open_, counts, "paper", {"fixed:0.1": 0.1}),
        "classes": class_numbers(PerClass.of(known, open_, counts, 0.1)),
        "confusions": confusion_numbers(Confusions.of(known, open_, 1000, 0.1)),
    }
    assert len(json.dumps(numbers)) < 90_000


# --- the page


def test_it_writes_one_file_that_names_nothing_outside(runs, no_figures):
    done = command("--dataset", "somewhere")
    assert done.exit_code == 0, done.output
    assert done.stdout == "report-somewhere.html\n"
    assert "next" in done.stderr
    page = Path("report-somewhere.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in unescape(page)
    assert 'http-equiv="refresh"' not in page
    assert not list(Path().glob(".*.tmp"))
    data = data_of(page)
    assert [one["run"] for one in data["runs"]] == [
        "somewhere/dme/0123456789-s0", "somewhere/dme/0123456789-s1", "somewhere/plain/0123456789-s0"
    ]  # fmt: skip
    assert all(one["curve"] and one["classes"] for one in data["runs"])
    assert [one["gallery"] is not None for one in data["runs"]] == [True, False, True]
    assert len(data["classSets"]) == 1


def test_the_command_that_opens_the_page_writes_the_same_one(runs, no_figures):
    typed = ["--out", "two [b].html", "--runs", "dme/0123456789-s1", "--runs", "plain", "--methods", "pl*,dme"]
    typed += ["--table", "3a", "--figures", "none"]
    again = command(*typed).stderr.splitlines()[-1].partition("or: ")[2]
    assert again.startswith("oltr report ")
    assert again.endswith(" --open")
    assert shlex.split(again)[2:-1] == typed
    again = command().stderr.splitlines()[-1]
    assert again.endswith("open report-somewhere.html in a browser, or: oltr report --dataset somewhere --open")


def test_one_run_is_one(runs, no_figures):
    assert "1 run finished, 0 not" in command("--methods", "plain").stderr
    assert "3 runs finished, 0 not" in command().stderr


def test_what_is_left_out_is_said_beside_the_page_too(runs, no_figures):
    other = make_run(runs, "somewhere", "plain", run_hash="0000000000")
    os.utime(other.path / "result.json", (1e9, 1e9))
    done = command("--runs", other.name, "--json")
    assert json.loads(done.stdout)["tables"] == []
    assert "Left out the paper's table and the figures" in done.stderr
    assert f"{other.name} is not among them" in done.stderr


def test_figures_are_in_it_and_what_is_missing_is_named(runs):
    made = json.loads(command("--dataset", "somewhere", "--json").stdout)
    assert "8b" not in made["figures"]  # range has no run
    page = Path(made["file"]).read_text(encoding="utf-8")
    assert "needs runs that are not finished" in page
    make_run(runs, "somewhere", "range")
    made = json.loads(command("--dataset", "somewhere", "--json").stdout)
    assert {"6", "8b"} <= set(made["figures"])
    assert made["bytes"] == Path(made["file"]).stat().st_size
    page = Path(made["file"]).read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == len(made["figures"])


def test_no_run_is_advised_where_it_would_not_help(runs):
    """8c lacks a run of range, and would not be drawn with it: its open samples have no classes."""
    for run in (runs / "somewhere").glob("*/*"):
        s = SavedScores.load(run / "scores" / "open.npz")
        paths = np.array([f"strangers/{i}.png" for i in range(len(s))])
        SavedScores(s.prediction, s.confidence, s.labels, paths=paths).save(run / "scores" / "open.npz")
    command("--dataset", "somewhere", "--figures", "8c,8b", "--out", "x.html")
    page = unescape(Path("x.html").read_text(encoding="utf-8"))
    assert "the open test has only one class" in page
    assert "oltr figure 8b" in page
    assert "oltr figure 8c" not in page


def test_the_papers_table_has_one_head_a_setting(runs, no_figures):
    command("--dataset", "somewhere", "--out", "x.html")
    page = Path("x.html").read_text(encoding="utf-8")
    head, body = re.findall(r'<table id="table-0".*?<thead>(.*?)</thead>(.*?)</table>', page, re.S)[0]
    assert re.findall(r'<th scope="col" colspan="4"><span>(.*?)</span>', head) == [
        "closed-set setting",
        "open-set setting",
    ]
    assert head.count("setting") == 2
    assert head.count('aria-sort="none"') == len(re.findall("<t[hd]", re.findall(r"<tr>.*?</tr>", body, re.S)[0]))
    assert '<span class="told">paper </span>40.9<' in body


def test_ones_own_photographs_come_before_the_papers_table(runs, no_figures):
    make_run(runs, "tiny-imagenet-lt", "dme")
    orders = {}
    for dataset in ("somewhere", "tiny-imagenet-lt"):
        command("--dataset", dataset, "--out", "x.html")
        page = Path("x.html").read_text(encoding="utf-8")
        orders[dataset] = re.findall(r'<section id="(.*?)">', page)
        assert re.findall(r'<a href="#([\w-]+)">', page.partition("<main>")[0]) == orders[dataset]
        assert "the paper’s figure on ImageNet-LT." in page
    assert orders["somewhere"] == ["one-run", "numbers", "runs", "tables"]
    assert orders["tiny-imagenet-lt"] == ["tables", "numbers", "one-run", "runs"]


def test_plots_of_the_first_seed_are_in_it_and_a_broken_one_is_not(runs, no_figures):
    from PIL import Image

    for seed in (0, 1):
        plots = runs / f"somewhere/dme/0123456789-s{seed}/plots"
        plots.mkdir()
        Image.new("RGB", (2000, 20), "red").save(plots / "training.png")
        (plots / "threshold.png").write_bytes(b"\x89PNG no")
    command("--dataset", "somewhere", "--out", "x.html")
    page = Path("x.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 1


def test_the_run_that_the_table_shows_comes_first_and_has_the_pictures(runs, no_figures):
    make_run(runs, "somewhere", "dme", 0, "0000000000")  # before the other by name, and with fewer seeds
    made = collect(choose("somewhere"), ["3a"], Display(quiet=True))
    assert [one.run.name for one in made.finished] == [
        "somewhere/dme/0123456789-s0",
        "somewhere/dme/0123456789-s1",
        "somewhere/dme/0000000000-s0",
        "somewhere/plain/0123456789-s0",
    ]
    assert [one.numbers["gallery"] is None for one in made.finished] == [False, True, True, False]


def test_a_damaged_run_is_a_line_among_those_without_a_result(runs, no_figures):
    (runs / "somewhere/dme/0123456789-s1/result.json").write_text('{"status": "done"}')
    made = json.loads(command("--dataset", "somewhere", "--json").stdout)
    assert made["runs"] == ["somewhere/dme/0123456789-s0", "somewhere/plain/0123456789-s0"]
    assert [(one["run"], one["status"]) for one in made["unfinished"]] == [("somewhere/dme/0123456789-s1", "damaged")]
    assert "dme/0123456789-s1/result.json: is damaged" in Path(made["file"]).read_text(encoding="utf-8")
    for path in runs.glob("*/*/*/result.json"):
        path.write_text("{")
    with pytest.raises(UsageProblem, match=r"are damaged \(result\.json\); remove that file"):
        choose("somewhere")


def test_a_number_that_json_cannot_hold_is_an_error(runs, no_figures):
    made = collect(choose("somewhere"), [], Display(quiet=True))
    made.finished[0].numbers["own"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        render(made)


def test_it_says_where_images_or_scores_are_gone(runs, no_figures):
    (runs / "somewhere/plain/0123456789-s0/recipe.toml").write_text('method = "plain"\n[data]\nname = "somewhere"\n')
    (runs / "somewhere/dme/0123456789-s0/recipe.toml").write_text('method = "dme"\n[data]\nname = "somewhere"\n')
    scores = runs / "somewhere/dme/0123456789-s1/scores/test.npz"
    scores.write_bytes(scores.read_bytes()[:500])
    assert command("--dataset", "somewhere").exit_code == 0
    page = Path("report-somewhere.html").read_text(encoding="utf-8")
    assert "The images cannot be shown: dataset 'somewhere': no folder" in data_of(page)["runs"][0]["galleryProblem"]
    assert re.search(r'class="problem">[^<]*dme/0123456789-s1/scores/test.npz: cannot be read', page)
    assert data_of(page)["runs"][1]["curve"] is None
    assert data_of(page)["runs"][0]["gallery"]["tail_as_head"][0]["picture"] is None


def test_thumbnails_are_shared_and_belong_to_their_samples(runs, no_figures, tiny_data, monkeypatch):
    import base64
    import io

    from PIL import Image

    monkeypatch.setenv("OLTR_DATA", str(tiny_data))
    lists = {
        split: [line.split()[0] for line in (tiny_data / "tiny" / f"{split}.txt").read_text().splitlines()]
        for split in ("test", "open")
    }
    rng = np.random.default_rng(5)
    confidence = {split: rng.permutation(len(names)).astype(np.float32) / 100 for split, names in lists.items()}
    for method in ("plain", "dme"):
        run = make_run(runs, "tiny", method)
        (run.path / "recipe.toml").write_text('[data]\nname = "tiny"\n')
        digest = "another" if method == "plain" else open_dataset(DataSpec(name="tiny")).digest
        edit(run.path / "result.json", class_counts=[300, 200, 50, 5, 2], class_names=list("abcde"), data_digest=digest)
        for split, names in lists.items():
            order = rng.permutation(len(names))  # saved in another order than the list's
            labels = np.arange(len(names)) // 4 if split == "test" else np.full(len(names), -1)
            SavedScores(
                np.zeros(len(names), np.int64), confidence[split][order], labels[order], paths=np.array(names)[order]
            ).save(run.scores(split))
    assert command("--dataset", "tiny").exit_code == 0
    data = data_of(Path("report-tiny.html").read_text(encoding="utf-8"))
    assert [one["galleryProblem"] for one in data["runs"]] == [
        "",
        "The lists of tiny have changed since this run; the images shown may be others.",
    ]
    first, second = (one["gallery"] for one in data["runs"])
    assert len(first["tail_as_head"]) == 8
    assert first == second  # the same pictures by the same numbers
    assert len(set(data["pictures"])) == len(data["pictures"]) <= 30
    for one in first["known_as_unknown"] + first["unknown_as_known"]:
        uri = data["pictures"][one["picture"]]
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), np.float64)
        meant = np.asarray(Image.open(tiny_data / "tiny" / one["name"]).resize((96, 96), 0), np.float64)
        assert np.abs(shown - meant).mean() < 25


def test_without_open_samples_there_is_no_threshold(runs, no_figures):
    for path in runs.glob("*/*/*/scores/open.npz"):
        path.unlink()
    for path in runs.glob("*/*/*/result.json"):
        metrics = {"closed/overall": 0.5, "open/overall": None, "identification/full": 0.25}
        edit(path, metrics=metrics)
    made = json.loads(command("--dataset", "somewhere", "--json").stdout)
    assert made["tables"] == ["4a"]
    page = Path(made["file"]).read_text(encoding="utf-8")
    assert data_of(page)["runs"][0]["curve"] is None
    assert "<small>identification</small>full" in page
    assert "<small>open</small>overall" not in page


# --- what is chosen


def test_nothing_finished_is_one_line_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    for arguments, line in (
        ((), "start with: oltr run dme"),
        (("--dataset", "tiny-imagenet-lt"), "train one: oltr run dme --dataset tiny-imagenet-lt"),
        (("--dataset", "glyphs-lt", "--methods", "plain"), "oltr run plain --dataset glyphs-lt"),
        (("--dataset", "glyphs-lt", "--watch"), "oltr run dme --dataset glyphs-lt"),
        (("--dataset", "glyphs-l"), "did you mean 'glyphs-lt'?"),
    ):
        done = command(*arguments)
        assert isinstance(done.exception, UsageProblem)
        assert done.exception.exit_code == 2
        assert line in str(done.exception)
        assert "\n" not in str(done.exception)
    assert not list(tmp_path.glob("*.html"))


def test_runs_and_methods_are_chosen(runs, no_figures):
    def chosen(*arguments: str) -> list[str]:
        return json.loads(command(*arguments, "--json").stdout)["runs"]

    assert chosen("--methods", "pl*") == ["somewhere/plain/0123456789-s0"]
    assert chosen("--runs", "dme/0123456789-s1", "--runs", "plain") == [
        "somewhere/dme/0123456789-s1",
        "somewhere/plain/0123456789-s0",
    ]
    make_run(runs, "elsewhere", "crt")
    assert chosen() == ["elsewhere/crt/0123456789-s0"]  # the newest
    with pytest.raises(UsageProblem, match="of elsewhere and somewhere"):
        choose(None, ["crt", "plain"])
    with pytest.raises(UsageProblem, match="not all are runs of somewhere"):
        choose("somewhere", ["crt", "plain"])
    with pytest.raises(UsageProblem, match="no run 'nothing'"):
        choose(None, ["nothing"])
    assert tables_for(choose("somewhere"), ["3a,3b"]) == ["3a", "3b"]


# --- watching


def start(folder: Path, epochs: int, of: int = 24) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(f'method = "range"\n[train]\nepochs = {of}\n')
    lines = [{"epoch": i + 1, "loss": 2.0, "val/closed/overall": 0.3, "seconds": 4.0} for i in range(epochs)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_unfinished_runs_show_their_epoch(runs, no_figures):
    from filelock import FileLock

    folder = runs / "somewhere/range/0123456789-s0"
    start(folder, 7)
    with FileLock(folder / ".lock"):
        made = json.loads(command("--dataset", "somewhere", "--json").stdout)
    assert made["unfinished"] == [{"run": "somewhere/range/0123456789-s0", "status": "running", "epoch": 7}]
    page = Path(made["file"]).read_text(encoding="utf-8")
    assert "7 of 24" in page
    (folder / "metrics.jsonl").write_text("")
    (folder / "recipe.toml").write_text("broken [")
    assert command("--dataset", "somewhere").exit_code == 0
    assert "0 of ?" in Path(made["file"]).read_text(encoding="utf-8")


def test_watching_writes_at_each_change_and_ends_with_ctrl_c(runs, no_figures, monkeypatch):
    folder = runs / "somewhere/range/0123456789-s0"
    start(folder, 1)
    written = Path("w.html")
    looks = []

    def sleep(seconds):
        looks.append(written.read_text(encoding="utf-8"))
        if len(looks) == 2:
            start(folder, 2)
        if len(looks) == 4:
            make_run(runs, "somewhere", "range")
        if len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    done = command("--dataset", "somewhere", "--watch", "--out", "w.html", "--json")
    assert done.exit_code == 130
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [[one["epoch"] for one in line["unfinished"]] for line in told] == [[1], [2], [], []]
    assert len(told[-1]["runs"]) == 4
    assert all(f'http-equiv="refresh" content="{REFRESH}"' in page for page in looks)
    assert "refresh" not in re.findall(r"<head>.*?<style>", written.read_text(encoding="utf-8"), re.S)[0]
    assert looks[0] == looks[1] != looks[2]


def test_watching_names_the_file_once_and_stops_quietly(runs, no_figures, monkeypatch):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        start(runs / "somewhere/range/0123456789-s0", len(looks))
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    monkeypatch.setattr(typer, "launch", lambda url: looks.append(url))
    done = command("--dataset", "somewhere", "--watch", "--open")
    assert done.exit_code == 130
    assert done.stdout == "report-somewhere.html\n"
    assert [url for url in looks if isinstance(url, str)] == [str(Path("report-somewhere.html").absolute())]
    assert not list(Path().glob(".*.tmp"))


def test_sigterm_ends_watching_as_ctrl_c_does(runs, no_figures, monkeypatch):
    monkeypatch.setattr(watching.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    done = command("--dataset", "somewhere", "--watch", "--out", "w.html")
    assert done.exit_code == 130
    assert 'http-equiv="refresh"' not in Path("w.html").read_text(encoding="utf-8")
    assert signal.getsignal(signal.SIGTERM) == before


def test_figures_are_chosen_by_name(runs):
    made = json.loads(command("--dataset", "somewhere", "--figures", "none", "--json").stdout)
    assert made["figures"] == []
    assert 'id="figures"' not in Path(made["file"]).read_text(encoding="utf-8")
    make_run(runs, "somewhere", "range")
    made = json.loads(command("--dataset", "somewhere", "--figures", "8b,6", "--json").stdout)
    assert made["figures"] == ["8b", "6"]
    with pytest.raises(UsageProblem, match=r"no figure '9'; known: 3, .*8c, all, none"):
        raise command("--dataset", "somewhere", "--figures", "8b,9").exception
    for words in (("--figures", "6,none"), ("--figures", "None", "--figures", "6")):
        with pytest.raises(UsageProblem, match="none draws no figure; give it alone"):
            raise command("--dataset", "somewhere", *words).exception


def test_watching_starts_before_anything_is_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    start(tmp_path / "runs/somewhere/range/0123456789-s0", 3)
    chosen = choose("somewhere", unfinished_will_do=True)
    page = render(collect(chosen, ["3a"], Display(quiet=True)), watched=True)
    assert "3 of 24" in page
    assert 'id="one-run"' not in page
    with pytest.raises(UsageProblem, match="no finished run on somewhere"):
        choose("somewhere")


def test_a_watched_run_is_read_once_and_again_when_it_changes(runs, no_figures, monkeypatch):
    read = []
    load = SavedScores.load.__func__
    monkeypatch.setattr(SavedScores, "load", classmethod(lambda cls, path: read.append(path) or load(cls, path)))
    cache = Cache()
    for _ in range(2):
        collect(choose("somewhere"), [], Display(quiet=True), cache)
    assert len(read) == 8  # test and open of three runs, and val of the two with mistakes
    (runs / "somewhere/plain/0123456789-s0/threshold.json").write_text('{"value": 0.33, "rule": "val_open"}')
    made = collect(choose("somewhere"), [], Display(quiet=True), cache)
    assert len(read) == 13  # those of one run, and test and open for its metrics at the tuned τ
    assert made.finished[2].numbers["own"] == 0.33
    assert made.finished[2].numbers["named"][0] == {"rule": "tuned, by val_open", "tau": 0.33}
    assert 0.33 in made.finished[2].numbers["curve"]["tau"]
    (runs / "somewhere/plain/0123456789-s0/threshold.json").write_text("{")
    made = collect(choose("somewhere"), [], Display(quiet=True), cache)
    assert made.finished[2].numbers["own"] == 0.1
    assert "threshold.json: is damaged" in made.finished[2].problem


def test_a_reader_never_sees_half_a_page(runs, no_figures):
    """While pages are written over each other, each look finds a whole one."""
    command("--dataset", "somewhere", "--out", "x.html")
    stop = threading.Event()
    broken = []

    def read():
        while not stop.is_set():
            if not Path("x.html").read_text(encoding="utf-8").rstrip().endswith("</html>"):
                broken.append(time.time())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        command("--dataset", "somewhere", "--out", "x.html")
    stop.set()
    reader.join()
    assert not broken
