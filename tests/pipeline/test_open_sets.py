"""Further open sets in runs: scored once, also by detectors and heads on features, and later if they came later."""

import json
import shutil

import numpy as np
import pytest

from oltr_cli.base.display import Display
from oltr_cli.errors import DataProblem
from oltr_cli.pipeline import make
from oltr_cli.planning.plan import plan
from oltr_cli.protocol.by_group import every_metric
from oltr_cli.protocol.catalogue import OF_A_SET
from oltr_cli.protocol.evaluate import evaluate_run
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import tiny_home
from tests.helpers.in_process import oltr_here
from tests.helpers.open_lists import add_open_list


@pytest.fixture
def home(tmp_path):
    yield from tiny_home(tmp_path)


def run(home, method, *sets, **more):
    """The run and its result."""
    planned = plan(method, str(home / "tiny.toml"), ["train.epochs=1", *sets], 0, **more)
    display = Display(quiet=True)
    return planned[-1].run, make.make_runs(planned, device="cpu", workers=0, track=False, display=display)


def same(one, other):
    """Whether two files of scores have the same content."""
    a, b = (vars(SavedScores.load(path)) for path in (one, other))
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_a_run_is_scored_on_all_sets(home):
    add_open_list(home / "data" / "tiny", "open_far", (20, 21))
    made, result = run(home, "plain")
    assert {path.stem for path in (made.path / "scores").iterdir()} == {"val", "test", "open", "open_val", "open_far"}
    scores = {name: SavedScores.load(made.scores(name)) for name in ("test", "open", "open_far")}
    args = (result.class_counts, result.threshold.value, "paper", {"open_far": scores["open_far"]})
    assert result.metrics == every_metric(scores["test"], scores["open"], *args)
    assert [*result.further_lists] == ["open_far"]
    for rule, other in result.other_thresholds.items():
        assert other.metrics == evaluate_run(made.path, ThresholdRule.parse(rule)).metrics


@pytest.mark.parametrize("method", ["plain", "plain+knn", "plain+msp", "tau-norm", "plain+odin"])
def test_a_set_that_came_later_is_scored_by_the_same_command(home, method):
    """With the result that a run has that knew the set from the beginning; nothing else is scored again."""
    made, before = run(home, method)
    untouched = {path: path.stat().st_mtime_ns for path in home.glob("runs/*/*/*/*.pt")}
    untouched |= {path: path.stat().st_mtime_ns for path in home.glob("runs/*/*/*/scores/*.npz")}
    add_open_list(home / "data" / "tiny", "open_far", (20, 21))
    again, later = run(home, method)
    assert again == made
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert {name: later.metrics[name] for name in before.metrics} == before.metrics
    assert later.metrics == evaluate_run(made.path).metrics
    assert {f"open_far/{name}" for name in OF_A_SET} == {*later.metrics} - {*before.metrics}
    assert (later.data_digest, later.threshold) == (before.data_digest, before.threshold)
    (home / "runs").rename(home / "first")
    fresh, at_once = run(home, method)
    path = home / "first" / fresh.name / "scores" / "open_far.npz"
    assert same(fresh.scores("open_far"), path)
    timed = ("seconds", "seconds_total")
    assert at_once.model_copy(update=dict.fromkeys(timed)) == later.model_copy(update=dict.fromkeys(timed))


def test_a_set_whose_list_changed_is_scored_again(home):
    root = home / "data" / "tiny"
    add_open_list(root, "open_far", (20, 21))
    made, before = run(home, "plain")
    names = add_open_list(root, "open_far", (22,))
    _, after = run(home, "plain")
    assert SavedScores.load(made.scores("open_far")).paths.tolist() == names
    assert after.further_lists != before.further_lists
    mtime = made.scores("open_far").stat().st_mtime_ns
    run(home, "plain")
    assert made.scores("open_far").stat().st_mtime_ns == mtime


def test_a_set_that_came_later_under_an_impossible_name_is_not_passed_over(home):
    run(home, "plain")
    add_open_list(home / "data" / "tiny", "open_far away", (20,))
    command = ("run", "plain", "--recipe", home / "tiny.toml", "--set", "train.epochs=1", "-q")
    for more in ((), ("--dry-run",)):
        code, _, told = oltr_here(*command, *more)
        assert code == 0
        assert told.count("open_far away.txt: the name of an open set has letters") == 1


def test_a_run_whose_other_lists_changed_keeps_its_result(home):
    root = home / "data" / "tiny"
    made, before = run(home, "plain")
    add_open_list(root, "open_far", (20,))
    (root / "val.txt").write_text((root / "val.txt").read_text().partition("\n")[2])
    assert run(home, "plain")[1] == before
    assert not made.scores("open_far").exists()
    with pytest.raises(DataProblem, match=r"open_far\.npz: missing, as after an addition .* oltr rm tiny/plain/"):
        run(home, "plain+knn")  # which is new, and scores what the lists have now


def test_a_finished_run_without_its_dataset_keeps_its_result(home):
    _, before = run(home, "plain")
    shutil.rmtree(home / "data")
    assert run(home, "plain")[1] == before


def test_an_image_of_a_new_set_that_cannot_be_decoded_leaves_the_result(home):
    made, before = run(home, "plain")
    names = add_open_list(home / "data" / "tiny", "open_far", (20,))
    broken = home / "data" / "tiny" / names[1]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:30])
    with pytest.raises(DataProblem, match=rf"{names[1]}.*repair or replace the file"):
        run(home, "plain")
    assert made.result() == before
    broken.write_bytes(whole)
    assert "open_far/auroc" in run(home, "plain")[1].metrics


def test_an_interrupted_run_resumes_with_a_set_that_was_added(home, monkeypatch):
    from oltr_cli.training import engine

    with monkeypatch.context() as patch:
        finish = engine.Training._finish_epoch

        def killed(training):
            finish(training)
            raise KeyboardInterrupt

        patch.setattr(engine.Training, "_finish_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(home, "plain", "train.epochs=2")
    add_open_list(home / "data" / "tiny", "open_far", (20,))
    assert "open_far/auroc" in run(home, "plain", "train.epochs=2")[1].metrics


def test_a_dry_run_says_what_is_missing(home):
    made, _ = run(home, "plain")
    add_open_list(home / "data" / "tiny", "open_far", (20,))
    command = ("run", "plain", "--recipe", home / "tiny.toml", "--set", "train.epochs=1")
    code, _, err = oltr_here(*command, "--dry-run")
    assert code == 0
    assert f"{made.name} lacks scores of open_far; repeat the oltr run command without --dry-run" in " ".join(
        err.split()
    )
    code, out, err = oltr_here(*command, "--device", "cpu", "--workers", 0, "--json")
    assert code == 0
    assert f"{made.name}: scoring open_far, added since it was finished" in err
    assert json.loads(out)["metrics"]["open_far/auroc"] is not None
    assert "lacks" not in oltr_here(*command, "--dry-run")[2]


def test_without_open_txt_only_the_sets_are_measured(home):
    (home / "data" / "tiny" / "open.txt").unlink()
    add_open_list(home / "data" / "tiny", "open_far", (20, 21))
    _, result = run(home, "plain")
    assert result.metrics["open/auroc"] is None
    assert result.metrics["open_far/auroc"] is not None
