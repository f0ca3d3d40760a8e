"""result.json and threshold.json: read back as written, completed where an earlier version wrote less; damage named."""

import json
import random

import pytest

from oltr_cli.base.files import read_json
from oltr_cli.errors import DataProblem
from oltr_cli.runs.choices import TunedThreshold, read_tuned
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.runs.result import RunFailure, RunResult, read_outcome, read_result
from tests.helpers.fake_runs import CLASS_COUNTS, a_failure, a_result, edit_result, make_run

DAMAGE = {
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    "nothing": "",
    "half of it": '{"status": "done", "met',
    "not text": b"\xff\xfe\x00",
    "deep nesting": '{"status": "done", "metrics": ' + "[" * 100_000,
    "no status": '{"run": "a/b/c-s0"}',
    "another status": '{"status": "perhaps"}',
    "a missing field": '{"status": "done", "run": "a/b/c-s0"}',
    "a failure without its run": '{"status": "failed"}',
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    return make_run(tmp_path / "runs", "somewhere", "dme")


def damage(run: Run, content: str | bytes) -> None:
    path = run.path / "result.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_one_line_that_names_the_file_and_says_what_to_do(run, content):
    damage(run, content)
    with pytest.raises(DataProblem) as caught:
        run.result()
    line = str(caught.value)
    assert line.startswith(f"{run.path / 'result.json'}: is damaged (")
    assert line.endswith("; remove it and repeat the oltr run command, which restores it from the other files")
    assert "\n" not in line
    assert len(line) < 500
    assert run.status() == "damaged"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"metrics": {"closed/overall": "high"}}, "metrics.closed/overall"),
        ({"metrics": {"closed/overall": float("nan")}}, "metrics.closed/overall"),
        ({"threshold": {"rule": "fixed:0.1"}}, "threshold.value"),
        ({"threshold": {"rule": "fixed:0.1", "value": None}}, "threshold.value"),
        ({"class_counts": []}, "class_counts"),
        ({"class_counts": [3, -1]}, "class_counts.1"),
        ({"class_counts": [2**63]}, "class_counts.0"),
        ({"class_names": ["one"]}, "class_names: Value error, 1 name for 10 classes"),
        ({"detector": {"params": {}}}, "detector.name"),
    ],
)
def test_the_field_that_is_wrong_is_named(run, changes, named):
    edit_result(run.path, **changes)
    with pytest.raises(DataProblem, match=r"result\.json: is damaged") as caught:
        read_outcome(run.path)
    assert f"({named}" in str(caught.value)


def test_what_is_written_is_read_back_to_the_last_digit(run):
    rng = random.Random(0)
    metrics = {f"open/{i}": rng.random() * 10 ** rng.randint(-12, 3) for i in range(200)}
    facts = {"name": "odin", "params": {"T": 1000.0, "eps": None}, "report": {"fit": "libmr"}}
    other = {"val_open": {"rule": "val_open", "value": -27.3, "metrics": {"open/few": None}}}
    result = a_result(run, metrics={**metrics, "open/few": None}, other_thresholds=other, detector=facts)
    result.write(run.path)
    assert run.result() == result
    on_disk = read_json(run.path / "result.json")
    assert on_disk == result.as_json() == run.result().as_json()
    assert on_disk["metrics"] == {**metrics, "open/few": None}
    assert "identification" not in on_disk
    assert on_disk["threshold"] == {"rule": "fixed:0.1", "value": 0.1}


def test_what_an_earlier_version_did_not_write_has_a_default(run):
    path = run.path / "result.json"
    least = ("run", "method", "dataset", "seed", "hash", "status", "threshold", "metrics", "class_counts")
    path.write_text(json.dumps({k: v for k, v in read_json(path).items() if k in least}))
    result = run.result()
    assert result.class_names == [f"class {label}" for label in range(len(CLASS_COUNTS))]
    assert (result.shots, result.seconds_total, result.undecodable, result.detector) == ("paper", None, [], None)


def test_a_failure_is_an_outcome_and_no_result(run):
    a_failure(run, "loss is not finite").write(run.path)
    assert run.result() is None
    assert run.outcome() == RunFailure(**run.identity, error="loss is not finite")
    assert run.status() == "failed"
    with pytest.raises(DataProblem, match="is not finished"):
        read_result(run.path)


def test_no_file_is_no_outcome_and_a_folder_in_its_place_is_named(run):
    path = run.path / "result.json"
    path.unlink()
    assert run.outcome() is None
    path.mkdir()
    with pytest.raises(DataProblem, match=r"result\.json: cannot be read"):
        run.outcome()


def test_a_damaged_run_costs_a_list_itself_alone(run):
    root = run.root
    whole, failed, other = (make_run(root, "somewhere", m) for m in ("plain", "range", "crt"))
    a_failure(failed).write(failed.path)
    damage(run, "[]")
    make_run(root, "elsewhere", "plain")
    damaged: dict[Run, str] = {}
    found = finished_runs("somewhere", damaged=damaged)
    assert {method: [one for one, _ in pairs] for method, pairs in found.items()} == {"plain": [whole], "crt": [other]}
    assert all(isinstance(result, RunResult) for pairs in found.values() for _, result in pairs)
    assert list(damaged) == [run]
    assert "is damaged" in damaged[run]
    assert len(finished_runs()["plain"]) == 2


@pytest.mark.parametrize("content", ["{", "[]", "7", '{"rule": "val_open"}', '{"rule": "val_open", "value": NaN}'])
def test_a_damaged_threshold_is_named_with_the_command_that_writes_it(tmp_path, content):
    assert read_tuned(tmp_path) is None
    (tmp_path / "threshold.json").write_text(content)
    with pytest.raises(DataProblem, match=r"threshold\.json: is damaged .*write it again with: oltr tune threshold"):
        read_tuned(tmp_path)


def test_a_tuned_threshold_is_read_back(tmp_path):
    tuned = TunedThreshold(rule="val_open", value=0.375, f_measure_val=0.5, study="s", trials=50)
    tuned.write(tmp_path)
    assert read_tuned(tmp_path) == tuned
    assert tuned.chosen.text == "tuned, by val_open"
    (tmp_path / "threshold.json").write_text('{"rule": "val_open", "value": 1}')
    assert read_tuned(tmp_path).value == 1.0
