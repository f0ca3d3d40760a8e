"""Coverage and size of label sets by shot group, against counts written out."""

import json

import numpy as np
import pytest
from rich.console import Console

from oltr_cli.errors import UsageProblem
from oltr_cli.protocol.label_sets import SetRule
from oltr_cli.protocol.set_coverage import coverage_table, set_coverage
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.runs.scores import SavedScores, max_softmax
from tests.helpers.fake_runs import CLASS_COUNTS, make_run
from tests.helpers.in_process import oltr_here

COUNTS = [400, 150, 60, 30, 8, 3]


def scores(rng, per_class):
    labels = rng.permutation(np.repeat(np.arange(len(per_class)), per_class))
    logits = rng.normal(size=(len(labels), len(per_class))).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 1.5
    return SavedScores(*max_softmax(logits), labels, logits)


def test_each_group_is_counted_over_its_own_images():
    rng = np.random.default_rng(0)
    val, test = scores(rng, [30, 20, 20, 10, 5, 0]), scores(rng, [50, 10, 20, 20, 6, 0])
    found, sets = set_coverage(test, val, COUNTS, SetRule(0.8, "pas", 0.5))
    members = sets.members(test.logits)
    for name, mask in {"overall": np.ones(6, bool), **shot_groups(COUNTS)}.items():
        rows = [i for i, label in enumerate(test.labels) if mask[label]]
        inside = [bool(members[i, test.labels[i]]) for i in rows]
        sizes = [int(members[i].sum()) for i in rows]
        one = found.groups[name]
        assert (one.images, one.coverage) == (len(rows), pytest.approx(np.mean(inside)))
        assert one.size == pytest.approx(np.mean(sizes))
        assert one.empty == pytest.approx(sizes.count(0) / len(rows))
        assert one.full == pytest.approx(sizes.count(6) / len(rows))
        shares = [
            np.mean([hit for i, hit in zip(rows, inside, strict=True) if test.labels[i] == k])
            for k in range(6)
            if mask[k] and (test.labels == k).any()
        ]
        assert one.by_class == pytest.approx(np.mean(shares))
        assert one.classes == len(shares)
    assert found.few == [k for k, n in enumerate([30, 20, 20, 10, 5, 0]) if n < 4]


def test_a_group_without_test_images_has_no_numbers():
    rng = np.random.default_rng(1)
    val, test = scores(rng, [30] * 6), scores(rng, [50, 10, 0, 0, 6, 6])
    found, sets = set_coverage(test, val, COUNTS, SetRule(0.9))
    assert found.groups["medium"].as_json()["coverage"] is None
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(coverage_table(found, sets, "paper"))
    shown = console.export_text()
    assert "true class in the set, %" in shown
    assert "–" in shown
    assert "calibrated on 180 validation images" in shown
    assert "unknown is a separate verdict" in shown


def with_logits(run):
    """The scores of a made-up run, with logits; these have none otherwise."""
    rng = np.random.default_rng(2)
    for split in ("val", "test"):
        scores(rng, [20] * len(CLASS_COUNTS)).save(run.scores(split))


def test_evaluate_shows_and_tells_it_for_a_run(tmp_path):
    run = make_run(tmp_path, "glyphs-lt", "plain")
    with_logits(run)
    where = {"OLTR_RUNS": str(tmp_path)}
    code, out, _ = oltr_here("evaluate", run.path, "--coverage", 0.9, "--class-weight", 0, "--json", **where)
    assert code == 0
    told = json.loads(out)["sets"]
    assert (told["wanted"], told["class_weight"], told["calibrated_on"], told["least"]) == (0.9, 0.0, 200, 9)
    val, test = (SavedScores.load(run.scores(split)) for split in ("val", "test"))
    found, _ = set_coverage(test, val, CLASS_COUNTS, SetRule(0.9, "softmax", 0))
    assert told == json.loads(json.dumps(found.as_json()))
    code, out, _ = oltr_here("evaluate", run.path, "--coverage", 0.9, **where)
    assert code == 0
    assert "label sets, coverage 0.9" in out
    assert "guarantees 80 %" in " ".join(out.split())
    code, out, _ = oltr_here("evaluate", run.path, "--json", **where)
    assert "sets" not in json.loads(out)


def test_a_detector_has_the_sets_of_the_run_under_it(tmp_path):
    plain, pair = make_run(tmp_path, "glyphs-lt", "plain"), make_run(tmp_path, "glyphs-lt", "plain+energy")
    with_logits(plain)
    from tests.helpers.fake_runs import edit_result

    edit_result(pair.path, starts_from=plain.name)
    where = {"OLTR_RUNS": str(tmp_path)}
    told = [
        json.loads(oltr_here("evaluate", run.path, "--coverage", 0.8, "--json", **where)[1])["sets"]
        for run in (plain, pair)
    ]
    assert told[0] == told[1]


def test_evaluate_of_files_needs_their_validation_scores(tmp_path):
    rng = np.random.default_rng(3)
    for name in ("test", "val"):
        one = scores(rng, [20] * 6)
        np.savez(tmp_path / f"{name}.npz", labels=np.r_[one.labels, -1], logits=np.r_[one.logits, one.logits[:1]])
    (tmp_path / "counts.txt").write_text("\n".join(map(str, COUNTS)))
    given = ("evaluate", tmp_path / "test.npz", "--class-counts", tmp_path / "counts.txt", "--coverage", "0.9")
    code, out, said = oltr_here(*given)
    assert (code, out) == (UsageProblem.exit_code, "")
    assert said == "error: --coverage is calibrated on validation scores: --val FILE.npz\n"
    code, out, _ = oltr_here(*given, "--val", tmp_path / "val.npz", "--json")
    assert code == 0
    assert json.loads(out)["sets"]["groups"]["overall"]["images"] == 120


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--coverage", "1"), 2, "below 1"),
        (("--set-score", "pas"), 2, "add --coverage"),
        (("--class-weight", "0"), 2, "add --coverage"),
        (("--coverage", "0.9"), 3, "has no logits"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, arguments, code, word):
    run = make_run(tmp_path, "glyphs-lt", "plain")
    left, out, said = oltr_here("evaluate", run.path, *arguments, OLTR_RUNS=str(tmp_path))
    assert (left, out) == (code, "")
    assert said.count("\n") == 1
    assert word in said
