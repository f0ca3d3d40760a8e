"""``oltr evaluate``: files of scores from anywhere, and runs, through the functions and through the command."""

import io
import json
import math

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from oltr_cli import examine
from oltr_cli.commands.evaluate import evaluate
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.protocol.best_threshold import best_f_measure, quantile_threshold
from oltr_cli.protocol.by_group import every_metric
from oltr_cli.protocol.catalogue import METRICS
from oltr_cli.protocol.evaluate import evaluate_run, evaluate_scores, evaluation_of
from oltr_cli.protocol.screen import table
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.folder import run_from_path
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores, max_softmax
from tests.helpers.fake_runs import a_failure, a_result

COUNTS = [300, 150, 60, 20, 12, 5]
FIXED = ThresholdRule.parse("fixed:0.1")


def plain(metrics):
    """But calibration, which needs logits; test_by_group.py has its tests."""
    return {name: value for name, value in metrics.items() if not name.startswith(("closed/ece", "closed/brier"))}


def expected_metrics(*arguments):
    return plain(every_metric(*arguments))


def mixed(seed: int, known: int = 120, open_: int = 50) -> dict[str, np.ndarray]:
    """Labels with −1 among them, in mixed order, and logits (negative ones too) that know something of the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.r_[rng.integers(len(COUNTS), size=known), np.full(open_, -1)])
    logits = rng.normal(size=(known + open_, len(COUNTS))) - 6.0
    rows = np.flatnonzero(labels >= 0)
    logits[rows, labels[rows]] += 2.0
    return {"labels": labels, "logits": logits.astype(np.float32)}


def parts(arrays: dict[str, np.ndarray]) -> tuple[SavedScores, SavedScores]:
    prediction, confidence = max_softmax(arrays["logits"])
    known = arrays["labels"] >= 0
    return tuple(SavedScores(prediction[m], confidence[m], arrays["labels"][m]) for m in (known, ~known))


def evaluate_file(path, counts_path, rule, shots="paper", val_path=None):
    return examine(path, counts_path, threshold=rule.text, shots=shots, val=val_path).evaluation


@pytest.fixture
def files(tmp_path):
    """A test file, a validation file and class counts."""
    np.savez(tmp_path / "test.npz", **mixed(0))
    np.savez(tmp_path / "val.npz", **mixed(1))
    (tmp_path / "counts.txt").write_text("\n".join(map(str, COUNTS)))
    return tmp_path


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A finished run, as the engine leaves it."""
    monkeypatch.setenv("OLTR_RUNS", str(tmp_path / "runs"))
    path = tmp_path / "runs" / "tiny" / "dme" / "0123abcd-s0"
    for (known_name, open_name), seed in ((("test", "open"), 0), (("val", "open_val"), 1)):
        known, open_ = parts(mixed(seed))
        known.save(path / "scores" / f"{known_name}.npz")
        open_.save(path / "scores" / f"{open_name}.npz")
    (path / "recipe.toml").write_text("")
    a_result(run_from_path(path), class_counts=COUNTS).write(path)
    return path


def shown(result, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(table(result))
    return capture.get()


def test_a_file_of_logits_gets_every_metric(files):
    result = evaluate_file(files / "test.npz", files / "counts.txt", FIXED)
    known, open_ = parts(mixed(0))
    assert plain(result.metrics) == expected_metrics(known, open_, COUNTS, 0.1)
    assert set(result.metrics) == set(METRICS)
    assert result.threshold == ChosenThreshold(rule="fixed:0.1", value=0.1)
    assert result.shots == "paper"
    assert result.counts == {"known": 120, "open": 50, "classes": 6, "many": 2, "medium": 2, "few": 2}
    json.dumps(result.as_json(), allow_nan=False)


def test_prediction_and_confidence_are_as_good_as_logits(files):
    arrays = mixed(0)
    prediction, confidence = max_softmax(arrays["logits"])
    np.savez(files / "short.npz", labels=arrays["labels"], prediction=prediction, confidence=confidence)
    counts = files / "counts.txt"
    long, short = (evaluate_file(files / name, counts, FIXED) for name in ("test.npz", "short.npz"))
    assert plain(long.metrics) == plain(short.metrics)


def test_float64_confidences_far_from_zero_are_evaluated_as_those_near_it(files):
    prediction, confidence = max_softmax(mixed(0)["logits"])
    near = np.round(confidence.astype(np.float64) * 2**12) / 2**12  # what stays exact beside 1e8
    labels = {"labels": mixed(0)["labels"], "prediction": prediction}
    val_prediction, val_confidence = max_softmax(mixed(1)["logits"])
    val = np.round(val_confidence.astype(np.float64) * 2**12) / 2**12
    metrics = []
    for offset in (0.0, -1e8):
        np.savez(files / "far.npz", **labels, confidence=near + offset)
        np.savez(files / "far-val.npz", labels=mixed(1)["labels"], prediction=val_prediction, confidence=val + offset)
        rule = ThresholdRule.parse("val_open")
        found = evaluate_file(files / "far.npz", files / "counts.txt", rule, val_path=files / "far-val.npz")
        metrics.append(found.metrics)
    assert metrics[0] == metrics[1]


def test_shot_definition_and_rule_are_followed(files):
    counts, (val, open_val), (test, open_test) = files / "counts.txt", parts(mixed(1)), parts(mixed(0))
    for text, expected in (
        ("id_quantile:0.9", quantile_threshold(val, 0.9)),
        ("val_open", best_f_measure(val, open_val)[0]),
        ("oracle_test", best_f_measure(test, open_test)[0]),
    ):
        rule = ThresholdRule.parse(text)
        result = evaluate_file(files / "test.npz", counts, rule, "code", files / "val.npz")
        assert result.threshold == ChosenThreshold(rule=text, value=expected)
        assert plain(result.metrics) == expected_metrics(test, open_test, COUNTS, expected, "code")
        assert result.counts["few"] == 3


def test_a_file_without_open_samples(files):
    arrays = mixed(2, open_=0)
    np.savez(files / "closed.npz", **arrays)
    result = evaluate_file(files / "closed.npz", files / "counts.txt", FIXED)
    assert result.metrics["open/auroc"] is None
    assert result.metrics["closed/overall"] > 0
    text = shown(result)
    assert "no open samples" in text
    assert "nan" not in text.lower()
    with pytest.raises(DataProblem, match="no scores of open"):
        evaluate_file(files / "closed.npz", files / "counts.txt", ThresholdRule.parse("oracle_test"))
    with pytest.raises(DataProblem, match="no scores of open_val"):
        evaluate_file(
            files / "test.npz", files / "counts.txt", ThresholdRule.parse("val_open"), val_path=files / "closed.npz"
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": np.r_[np.zeros(168, int), 6, 7]}, r"0 … 5; sample 168 \(6\) is the first of 2"),
        ({"labels": np.r_[np.zeros(169, int), -2]}, "below −1"),
        ({"labels": np.full(170, -1)}, "no sample of a known class"),
        ({"labels": np.zeros(170)}, "'labels' must be integers"),
        ({"labels": np.zeros(3, int)}, "differ in length"),
        ({"logits": np.zeros((170, 7), np.float32)}, "logits have 7 classes, but 6 class counts"),
        ({"logits": np.full((170, 6), np.nan, np.float32)}, "NaN or infinity; sample 0 is the first of 170"),
        ({"logits": np.full((170, 6), np.inf, np.float32)}, "NaN or infinity"),
        ({"logits": np.zeros((170, 6), int)}, "must be floating"),
        ({"prediction": np.full(170, -1), "confidence": np.zeros(170)}, "predictions are made before rejection"),
        ({"prediction": np.full(170, 6), "confidence": np.zeros(170)}, r"sample 0 \(6\)"),
        ({"confidence": np.r_[np.zeros(169), np.nan]}, "contains 1 NaN"),
        ({"confidence": np.r_[np.zeros(169), np.inf]}, "not finite"),
        ({"logits": None}, "needs 'prediction' and 'confidence', or 'logits'"),
        ({"labels": None}, "no array 'labels'"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(files, change, says):
    arrays = {name: array for name, array in (mixed(0) | change).items() if array is not None}
    path = files / "broken.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataProblem, match=says) as caught:
        evaluate_file(path, files / "counts.txt", FIXED)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_and_truncated_files_are_refused(files):
    np.savez(files / "pickled.npz", labels=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    content = (files / "test.npz").read_bytes()
    (files / "cut.npz").write_bytes(content[: len(content) // 2])
    for name in ("pickled.npz", "cut.npz"):
        with pytest.raises(DataProblem, match=name):
            evaluate_file(files / name, files / "counts.txt", FIXED)


def test_one_class_and_one_sample(tmp_path):
    np.savez(tmp_path / "one.npz", labels=np.array([0, -1]), logits=np.array([[-3.0], [-9.0]]))
    (tmp_path / "counts.txt").write_text("7\n")
    metrics = evaluate_file(tmp_path / "one.npz", tmp_path / "counts.txt", FIXED).metrics
    assert metrics["closed/few"] == 1.0
    assert metrics["open/auroc"] == 0.5  # one class: the softmax is always 1
    assert not any(value is not None and math.isnan(value) for value in metrics.values())


def test_scores_in_the_wrong_split_are_refused():
    known, open_ = parts(mixed(0))
    with pytest.raises(DataProblem, match="scores of test: a label is out of range"):
        evaluate_scores(open_, known, COUNTS, FIXED)
    with pytest.raises(DataProblem, match="scores of open: open samples are labelled −1"):
        evaluate_scores(known, known, COUNTS, FIXED)
    with pytest.raises(UsageProblem, match="did you mean 'paper'"):
        evaluate_scores(known, open_, COUNTS, FIXED, "papers")


def test_a_run_is_read_from_its_saved_scores(run_dir):
    (test, open_test), (val, open_val) = parts(mixed(0)), parts(mixed(1))
    fixed = evaluate_run(run_dir, FIXED)
    assert fixed.run == "tiny/dme/0123abcd-s0"
    assert plain(fixed.metrics) == expected_metrics(test, open_test, COUNTS, 0.1)
    tau = best_f_measure(val, open_val)[0]
    assert evaluate_run(run_dir, ThresholdRule.parse("val_open")).threshold.value == tau
    quantile = evaluate_run(run_dir, ThresholdRule.parse("id_quantile:0.5"), "code")
    assert quantile.threshold.value == quantile_threshold(val, 0.5)
    assert quantile.shots == "code"


def test_the_tuned_threshold_holds_where_none_is_given_and_the_runs_own_before(run_dir, capsys):
    open_, val = (SavedScores.load(run_dir / "scores" / f"{name}.npz") for name in ("open", "val"))
    tau = quantile_threshold(val, 0.95)
    own = evaluate_run(run_dir, ThresholdRule.parse("id_quantile:0.95"))
    a_result(run_from_path(run_dir), class_counts=COUNTS, threshold=own.threshold, metrics=own.metrics).write(run_dir)
    assert len(open_)
    assert own.metrics != evaluate_run(run_dir, FIXED).metrics
    (run_dir / "scores" / "val.npz").unlink()  # τ is known
    as_it_was = own.model_copy(update={"threshold": ChosenThreshold(rule="id_quantile:0.95", value=tau)})
    assert evaluate_run(run_dir) == as_it_was
    assert evaluate_run(run_dir, shots="code").threshold.value == tau
    (run_dir / "threshold.json").write_text('{"rule": "val_open", "value": 0.375}')
    assert evaluate_run(run_dir).threshold == ChosenThreshold(rule="tuned", value=0.375, chosen_by="val_open")
    result = read_result(run_dir)
    assert evaluation_of(run_dir, result).threshold.value == 0.375
    by_own_rule = ThresholdRule.parse("own")
    assert evaluate_run(run_dir, by_own_rule) == as_it_was
    assert evaluation_of(run_dir, result, by_own_rule).metrics == own.metrics
    evaluate("dme", threshold="own", json_=True)
    assert json.loads(capsys.readouterr().out)["threshold"] == {"rule": "id_quantile:0.95", "value": tau}
    evaluate("dme")
    assert "--threshold own shows the run's own rule" in capsys.readouterr().err.replace("\n", " ")


def test_a_result_at_hand_is_taken_where_it_is_what_is_asked_for(run_dir):
    result = a_result(run_from_path(run_dir), class_counts=COUNTS, metrics={"open/f_measure": 0.125, "closed/ece": 0.5})
    for rule in (None, FIXED):
        assert evaluation_of(run_dir, result, rule).metrics == result.metrics
    for rule, shots in ((None, "code"), (ThresholdRule.parse("val_open"), "paper")):
        assert evaluation_of(run_dir, result, rule, shots) == evaluate_run(run_dir, rule, shots)


def test_a_result_of_an_earlier_version_is_completed_from_the_scores(run_dir):
    result = a_result(run_from_path(run_dir), class_counts=COUNTS, metrics={"open/f_measure": 0.125})
    assert evaluation_of(run_dir, result) == evaluate_run(run_dir)
    (run_dir / "scores" / "test.npz").unlink()
    assert evaluation_of(run_dir, result).metrics == result.metrics


@pytest.mark.parametrize("text", ["-27.3", "0.5", "fixed:0.5"])
def test_any_number_is_a_threshold_on_the_command_line(run_dir, text):
    app = typer.Typer()
    app.command()(evaluate)
    done = CliRunner().invoke(app, ["dme", "--threshold", text, "--json"])
    value = float(text.removeprefix("fixed:"))
    assert json.loads(done.stdout)["threshold"] == {"rule": f"fixed:{value}", "value": value}


def test_rules_read_no_split_they_do_not_need(run_dir):
    for split in ("val", "open_val"):
        (run_dir / "scores" / f"{split}.npz").write_bytes(b"broken")
    assert evaluate_run(run_dir, FIXED).threshold.value == 0.1
    with pytest.raises(DataProblem, match=r"val\.npz"):
        evaluate_run(run_dir, ThresholdRule.parse("id_quantile:0.95"))


def test_a_tuned_threshold_is_found_with_the_run(run_dir):
    tuned = ThresholdRule.parse("tuned")
    with pytest.raises(UsageProblem, match="oltr tune threshold"):
        evaluate_run(run_dir, tuned)
    (run_dir / "threshold.json").write_text('{"rule": "val_open", "value": 0.375}')
    assert evaluate_run(run_dir, tuned).threshold == ChosenThreshold(rule="tuned", value=0.375, chosen_by="val_open")
    for broken in ("{", "[]", '{"value": null}', '{"value": NaN}'):
        (run_dir / "threshold.json").write_text(broken)
        with pytest.raises(DataProblem, match=r"threshold\.json"):
            evaluate_run(run_dir, tuned)


def test_a_run_without_open_scores_or_result(run_dir):
    (run_dir / "scores" / "open.npz").unlink()
    assert evaluate_run(run_dir, FIXED).metrics["open/f_measure"] is None
    (run_dir / "scores" / "open_val.npz").unlink()
    with pytest.raises(DataProblem, match="no scores of open_val"):
        evaluate_run(run_dir, ThresholdRule.parse("val_open"))
    (run_dir / "scores" / "test.npz").unlink()
    with pytest.raises(DataProblem, match=r"test\.npz: no such file"):
        evaluate_run(run_dir, FIXED)
    a_failure(run_from_path(run_dir)).write(run_dir)
    with pytest.raises(DataProblem, match="is not finished"):
        evaluate_run(run_dir, FIXED)


def test_the_table_shows_every_number_in_80_columns(files):
    result = evaluate_file(files / "test.npz", files / "counts.txt", FIXED)
    text = shown(result)
    assert "…" not in text
    for name, value in result.metrics.items():
        percent = name.split("/")[1] in {"overall", "many", "medium", "few", "balanced_accuracy"}
        percent |= any(word in name for word in ("detection_error", "fpr95", "rejected"))
        assert (f"{100 * value:.1f}" if percent else f"{value:.3f}") in text, name
    assert "†" not in text
    assert "τ = 0.1 (fixed:0.1) · 120 known and 50 open samples" in text


def test_the_table_marks_what_the_test_set_chose(files):
    result = evaluate_file(files / "test.npz", files / "counts.txt", ThresholdRule.parse("oracle_test"))
    text = shown(result)
    metrics = result.metrics
    assert f"{metrics['open/f_measure']:.3f}†" in text
    assert f"{100 * metrics['open/few']:.1f}†" in text
    assert f"{metrics['open/auroc']:.3f}†" not in text
    assert f"{100 * metrics['closed/few']:.1f}†" not in text
    assert "† τ was chosen on the test set itself" in text


def test_the_table_takes_a_result_without_counts():
    known, open_ = parts(mixed(0))
    result = evaluate_scores(known, open_, COUNTS, FIXED)
    assert f"{result.metrics['open/f_measure']:.3f}" in shown(result.model_copy(update={"counts": None}))
    empty = evaluate_scores(known, open_, [300] * 6, FIXED)
    assert "–" in shown(empty)


def test_the_command_prints_one_json_object(files, capsys):
    evaluate(str(files / "test.npz"), class_counts=files / "counts.txt", json_=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == evaluate_file(files / "test.npz", files / "counts.txt", FIXED).as_json()
    assert printed.err == ""


def test_the_command_prints_a_table_and_what_to_type_next(files, run_dir, capsys):
    evaluate(str(files / "test.npz"), class_counts=files / "counts.txt")
    printed = capsys.readouterr()
    assert "F-measure" in printed.out
    assert "oltr evaluate" not in printed.out
    assert f"oltr evaluate {files / 'test.npz'} --class-counts" in printed.err
    for name in ("tiny/dme/0123abcd-s0", "dme", str(run_dir)):
        evaluate(name)
        printed = capsys.readouterr()
        assert "tiny/dme/0123abcd-s0" in printed.out
        assert f"oltr tune threshold --run {name}" in printed.err
    evaluate("dme", threshold="val_open")
    assert "oltr compare --table 3a --dataset tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": "scores.npz"}, "--class-counts"),
        ({"target": "scores.npz", "class_counts": "c.txt", "threshold": "val_open"}, "--val FILE.npz"),
        ({"target": "scores.npz", "class_counts": "c.txt", "threshold": "tuned"}, "saved with a run"),
        ({"target": "scores.npz", "class_counts": "c.txt", "threshold": "own"}, "saved with a run"),
        ({"target": "dme", "class_counts": "c.txt"}, "are for a FILE.npz"),
        ({"target": "dme", "val": "v.npz"}, "are for a FILE.npz"),
        ({"target": "dme", "threshold": "val_opn"}, "did you mean 'val_open'"),
        ({"target": "dme", "shots": "cod"}, "did you mean 'code'"),
        ({"target": "no-such-run"}, "no run 'no-such-run'"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(run_dir, options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.npz").touch()
    with pytest.raises(OltrError, match=says) as caught:
        evaluate(**options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"class_counts": "c.txt"}])
def test_a_file_that_does_not_exist_is_named_first(options):
    with pytest.raises(DataProblem, match=r"nosuch\.npz: no such file"):
        evaluate(target="nosuch.npz", **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused_also_beside_a_finite_confidence(value):
    logits = np.zeros((4, 3), np.float32)
    logits[2, 1] = value
    labels, confidence = np.array([0, 1, 2, 0]), np.full(4, 0.5, np.float32)
    known = SavedScores(np.zeros(4, np.int64), confidence, labels, logits)
    with pytest.raises(DataProblem, match="scores of test: logits contain NaN or infinity; sample 2 is the first of 1"):
        evaluate_scores(known, None, [30, 10, 5], ThresholdRule.parse("0.1"))
    logits[2] = [0, -np.inf, 0]  # the logarithm of a probability of 0
    assert evaluate_scores(known, None, [30, 10, 5], ThresholdRule.parse("0.1")).metrics["closed/ece"] is not None
