"""oltr_cli.evaluate and examine, and the options of oltr evaluate that show what goes wrong."""

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oltr_cli import DataProblem, SavedScores, UsageProblem, evaluate, examine
from oltr_cli.api.files import confusions_csv
from oltr_cli.protocol.confusions import Confusions
from oltr_cli.runs.scores import max_softmax
from tests.helpers.fake_runs import CLASS_COUNTS, edit_result, make_run
from tests.helpers.in_process import oltr_here

NAMES = ["=cmd", "a,b", 'say "no"', "çınar 木", *(f"thing {i}" for i in range(4, 10))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run whose scores have logits and names, and some wrong labels."""
    home = tmp_path_factory.mktemp("made")
    run = make_run(home / "runs", "somewhere", "dme")
    rng = np.random.default_rng(0)
    for split, size in {"val": 200, "test": 300, "open": 120, "train": 300}.items():
        labels = rng.permutation(np.arange(size) % 10)
        logits = rng.normal(size=(size, 10)).astype(np.float32)
        if split == "open":
            labels = np.full(size, -1)
        else:
            logits[np.arange(size), labels] += 4
            labels = np.where(rng.random(size) < 0.03, (labels + 1) % 10, labels)
        paths = np.array([f"{split}/{i} é.png" for i in range(size)])
        SavedScores(*max_softmax(logits), labels, logits, paths=paths).save(run.scores(split))
    edit_result(run.path, class_names=NAMES)
    return run


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(made.root))
    monkeypatch.chdir(tmp_path)
    return made


def said(*words) -> dict:
    code, out, err = oltr_here("evaluate", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def as_file(run, path: Path) -> Path:
    """Its test and open scores as a file from elsewhere, and the class counts beside it."""
    parts = [SavedScores.load(run.scores(split)) for split in ("test", "open")]
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("labels", "logits", "paths")}
    np.savez(path, **arrays)
    (path.parent / "counts.txt").write_text("\n".join(map(str, CLASS_COUNTS)))
    return path


@pytest.mark.parametrize("threshold", [None, 0.4, "id_quantile:0.9"])
def test_a_program_gets_what_the_command_prints(run, threshold):
    words = () if threshold is None else ("--threshold", threshold)
    assert evaluate(run.name, threshold=threshold).as_json() == said(run.name, *words)
    assert evaluate(run.path, threshold=threshold).metrics == evaluate("somewhere/dme", threshold=threshold).metrics


def test_scores_from_elsewhere_as_a_file_arrays_and_saved_scores(run, tmp_path):
    file = as_file(run, tmp_path / "scores.npz")
    of_file = said(file, "--class-counts", tmp_path / "counts.txt", "--threshold", 0.3)
    arrays = dict(np.load(file))
    saved = SavedScores(*max_softmax(arrays["logits"]), arrays["labels"], arrays["logits"])
    assert evaluate(file, tmp_path / "counts.txt", threshold=0.3).as_json() == of_file
    for scores in (arrays, saved, {"labels": arrays["labels"].tolist(), "logits": arrays["logits"]}):
        made = evaluate(scores, CLASS_COUNTS, threshold=0.3)
        assert made.metrics == of_file["metrics"]
        assert made.file is None
    quantile = evaluate(saved, CLASS_COUNTS, threshold="id_quantile:0.9", val=arrays).threshold
    known = saved.labels >= 0
    assert (saved.confidence[known] >= quantile.value).mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        (({},), {}, UsageProblem, "class_counts is missing"),
        (({}, [3, 4]), {}, DataProblem, "scores: has no array 'labels'"),
        ((3, [3, 4]), {}, UsageProblem, "scores: int is neither a run"),
        (("nowhere",), {}, UsageProblem, "nowhere"),
        (("nowhere.npz", [3]), {}, DataProblem, "nowhere.npz: no such file"),
        (({}, [3.5]), {}, DataProblem, "class_counts: must be whole numbers"),
        (({}, [[3]]), {}, DataProblem, "class_counts: must be whole numbers"),
        (({}, [-1]), {}, DataProblem, "class_counts: must be whole numbers"),
        (({}, [3]), {"threshold": "tuned"}, UsageProblem, "threshold tuned is saved with a run"),
        (({}, [3]), {"threshold": "val_open"}, UsageProblem, "chosen on validation scores: give val"),
        (({}, [3]), {"shots": "papper"}, UsageProblem, "did you mean 'paper'"),
        (({}, [3]), {"own_confidence": True}, UsageProblem, "own_confidence is for a run"),
        (("somewhere/dme", [3]), {}, UsageProblem, "a run has both already"),
        (({"labels": [0, 5], "logits": 2 * np.eye(2)}, [3, 4]), {}, DataProblem, "a label is out of range"),
        (({"labels": [0], "logits": np.ones((1, 3))}, [3, 4]), {}, DataProblem, "logits have 3 classes, but 2 class"),
        (({"labels": [-1], "logits": np.ones((1, 2))}, [3, 4]), {}, DataProblem, "no sample of a known class"),
    ],
)
def test_what_cannot_be_evaluated(run, arguments, options, error, says):
    with pytest.raises(error) as refused:
        evaluate(*arguments, **options)
    assert says in str(refused.value)


def test_an_exported_folder_has_no_scores(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text("{}")
    with pytest.raises(UsageProblem, match="is a folder for a model hub, which has no saved scores"):
        evaluate(tmp_path / "hub")


def test_classes_are_listed_worst_first_with_their_numbers(run):
    rows = said(run.name, "--per-class", "--threshold", 0.4)["per_class"]
    classes = examine(run.name, threshold=0.4).per_class()
    assert [row["label"] for row in rows] == classes.worst_first().tolist()
    for row in rows:
        label = row["label"]
        assert row["class"] == NAMES[label]
        assert row["train_images"] == CLASS_COUNTS[label]
        assert row["accuracy"] == classes.closed[label]
        assert row["rejected"] == classes.rejected[label]
        assert row["taken_for"] == (NAMES[classes.taken_for[label]] if classes.taken_for[label] >= 0 else None)
    code, out, _ = oltr_here("evaluate", run.name, "--per-class")
    assert code == 0
    lines = out.splitlines()
    at = {row["class"]: next(i for i, line in enumerate(lines) if line.startswith(row["class"])) for row in rows}
    assert list(at.values()) == sorted(at.values())


def test_confusions_are_written_as_a_matrix_and_a_picture(run, tmp_path):
    made = said(run.name, "--confusions", "--out", "pictures", "--threshold", 0.4)
    matrix, picture = map(Path, made["files"])
    assert matrix == Path("pictures/confusions-somewhere-dme-0123456789-s0.csv")
    rows = list(csv.reader(matrix.open(encoding="utf-8", newline="")))
    found = examine(run.name, threshold=0.4).confusions()
    assert rows[0] == ["true \\ decided", "'=cmd", *NAMES[1:], "unknown"]
    assert [row[0] for row in rows[1:]] == ["'=cmd", *NAMES[1:], "open"]
    assert np.array([row[1:] for row in rows[1:]], int).tolist() == found.table().tolist()
    with Image.open(picture) as image:
        assert min(image.size) > 500
    place = found.largest()[0]
    first = {"count": int(found.count[place]), "share": found.share[place]}
    assert made["confusions"][0].items() >= first.items()
    assert len(made["confusions"]) <= 50
    assert oltr_here("evaluate", run.name, "--confusions", "--out", "pictures")[0] == 0  # they are replaced


def test_many_classes_have_a_line_for_each_pair(run, tmp_path):
    rng = np.random.default_rng(0)
    known = SavedScores(rng.integers(0, 1200, 500), rng.random(500).astype(np.float32), rng.integers(0, 1200, 500))
    names = [f"class {i}" for i in range(1200)]
    found = Confusions.of(known, known, 1200, 0.5)
    rows = list(csv.DictReader(confusions_csv(found, names).splitlines()))
    assert len(rows) == len(found.count)
    assert sum(int(row["count"]) for row in rows) == 1000
    assert {row["decided"] for row in rows} >= {"unknown"}
    assert sum(float(row["share"]) for row in rows if row["true"] == "open") == pytest.approx(1, abs=1e-3)
    np.savez(tmp_path / "s.npz", labels=known.labels, prediction=known.prediction, confidence=known.confidence)
    np.save(tmp_path / "counts.npy", np.full(1200, 7))
    made = said(tmp_path / "s.npz", "--class-counts", tmp_path / "counts.npy", "--confusions", "--per-class")
    assert made["files"] == ["confusions-s.csv"]  # no picture of 1,200 classes
    assert len(made["per_class"]) == 1200
    code, out, _ = oltr_here(
        "evaluate", tmp_path / "s.npz", "--class-counts", tmp_path / "counts.npy", "--per-class", "--mistakes", 1
    )
    assert code == 0
    assert "1,000 classes more; --json has all" in out
    assert "–" in out  # a class that no test image has
    assert "test, sample" in out


def test_no_open_samples_are_a_dash(run, tmp_path):
    known = SavedScores.load(run.scores("test"))
    np.savez(tmp_path / "s.npz", labels=known.labels, logits=known.logits)
    np.save(tmp_path / "counts.npy", CLASS_COUNTS)
    words = (
        tmp_path / "s.npz",
        "--class-counts",
        tmp_path / "counts.npy",
        "--per-class",
        "--confusions",
        "--mistakes",
        2,
    )
    made = said(*words)
    assert all(
        row["rejected"] is row["accuracy_at_threshold"] is row["open_taken_for_it"] is None for row in made["per_class"]
    )
    assert {one["kind"] for one in made["mistakes"]} <= {"known_as_other", "known_as_unknown", "tail_as_head"}
    assert not any(pair["true"] == "open" for pair in made["confusions"])
    assert oltr_here("evaluate", *words)[0] == 0


def test_mistakes_and_suspects_have_names(run):
    made = said(run.name, "--mistakes", 3, "--mislabelled", 7)
    kinds = [one["kind"] for one in made["mistakes"]]
    assert all(kinds.count(kind) <= 3 for kind in kinds)
    assert all(one["path"] == f"{one['split']}/{one['row']} é.png" for one in made["mistakes"])
    test = SavedScores.load(run.scores("test"))
    top = next(one for one in made["mistakes"] if one["kind"] == "known_as_other")
    assert top["confidence"] == pytest.approx(test.confidence[test.prediction != test.labels].max())
    assert made["mislabelled"]["method"].startswith("confident learning (cleanlab")
    suspects = made["mislabelled"]["samples"]
    assert len(suspects) == 7
    assert {one["split"] for one in suspects} <= {"val", "test", "train"}
    assert all(one["path"] == f"{one['split']}/{one['row']} é.png" for one in suspects)
    assert [one["quality"] for one in suspects] == sorted(one["quality"] for one in suspects)
    code, out, _ = oltr_here("evaluate", run.name, "--mislabelled", 3, "--mistakes", 2, COLUMNS="40")
    assert code == 0
    assert any(line.endswith(suspects[0]["path"]) for line in out.splitlines())  # whole, however narrow the terminal
    assert any(line.endswith(top["path"]) for line in out.splitlines())


def test_a_missing_library_and_a_lonely_option_are_one_line(run, monkeypatch):
    code, out, err = oltr_here("evaluate", run.name, "--out", "x")
    assert (code, out) == (2, "")
    assert "error: --out is for the files of --confusions; add it" in err
    Path("taken").touch()
    code, _, err = oltr_here("evaluate", run.name, "--confusions", "--out", "taken")
    assert code == 2
    assert "error: --out taken: is a file, not a folder" in err
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cleanlab" else found(name))
    code, out, err = oltr_here("evaluate", run.name, "--mislabelled", 3)
    assert (code, out) == (2, "")
    assert "pip install 'oltr[cleanlab]'" in err


def test_scores_without_logits_have_no_suspects(run, tmp_path, monkeypatch):
    shutil.copytree(run.root, tmp_path / "runs")
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    for file in (tmp_path / "runs" / run.name / "scores").glob("*.npz"):
        one = SavedScores.load(file)
        SavedScores(one.prediction, one.confidence, one.labels).save(file)
    code, out, err = oltr_here("evaluate", run.name, "--mislabelled", 3)
    assert (code, out) == (3, "")
    assert "found by logits, and the scores have none" in err


@pytest.mark.parametrize(
    "logits", [[[1.0], [1.0, 2.0]], torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 2, dtype=torch.bfloat16)]
)
def test_what_is_no_array_is_named(logits):
    with pytest.raises(DataProblem, match=r"^scores\['logits'\]: is no array that numpy can read \("):
        evaluate({"labels": [0, 1], "logits": logits}, [5, 5])
    with pytest.raises(DataProblem, match=r"^class_counts: (is no array|must be whole)"):
        evaluate({"labels": [0, 1], "logits": [[1.0, 2.0], [2.0, 1.0]]}, logits)
