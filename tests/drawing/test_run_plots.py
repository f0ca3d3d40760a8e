"""The pictures of a run: what they show equals the metrics, and odd runs are drawn or left out, never a crash."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from oltr_cli.drawing import frequency
from oltr_cli.drawing import run_plots as plots
from oltr_cli.drawing.rejection import rejected_by_threshold
from oltr_cli.errors import DataProblem
from oltr_cli.protocol.metrics import all_metrics
from oltr_cli.protocol.shots import shot_groups
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores
from tests.helpers.fake_runs import a_result

COUNTS = [300, 150, 101, 100, 60, 20, 19, 8, 5, 1]
TAU = 0.4
ALL = {"accuracy-by-class-frequency", "confidence", "threshold", "rejection", "training", "group-confusion"}


def make_scores(known: bool, seed: int = 0, classes: int = len(COUNTS), each: int = 12) -> SavedScores:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each) if known else np.full(40, -1)
    guessed = rng.integers(0, classes, len(labels))
    prediction = np.where(known & (rng.random(len(labels)) < 0.6), labels, guessed)
    return SavedScores(prediction, rng.random(len(labels)).astype(np.float32), labels)


def make_history(epochs: int) -> list[dict]:
    return [
        {
            "epoch": e,
            "loss": 3.0 / e,
            "loss/classification": 2.9 / e,
            "loss/centroid": 0.1 / e,
            "val/closed/overall": 0.5 - 0.1 * abs(e - 3),
            "val/closed/many": 0.6,
            "val/closed/medium": None,
            "val/closed/few": 0.1 * e,
        }
        for e in range(1, epochs + 1)
    ]


@pytest.fixture
def run_dir(tmp_path):
    make_scores(known=True).save(tmp_path / "scores" / "test.npz")
    make_scores(known=False).save(tmp_path / "scores" / "open.npz")
    write_result(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in make_history(5)))
    return tmp_path


def write_result(folder, **changes) -> None:
    usual = {"class_counts": COUNTS, "threshold": {"rule": "fixed:0.4", "value": TAU}, "best_epoch": 3}
    a_result(Run(folder, "glyphs-lt", "dme", "0123456789", 0), **{**usual, **changes}).write(folder)


def check_drawn(written, names) -> None:
    """Exactly ``names`` are there, as PNGs with something on them."""
    assert {path.stem for path in written} == set(names)
    for path in written:
        assert path.suffix == ".png"
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 1000 <= image.width <= 1400
            assert 700 <= image.height <= 1100
            assert len(np.unique(np.asarray(image.convert("L")))) > 5
    if written:
        assert {p.name for p in written[0].parent.iterdir()} == {p.name for p in written}


def test_a_finished_run_gets_all_of_them(run_dir):
    check_drawn(plots.save_run_plots(run_dir), ALL)
    check_drawn(plots.save_run_plots(run_dir), ALL)  # again, over those that are there


def lines_of(axes) -> dict:
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.lines}


def test_frequency_shows_each_class_and_the_mean_of_each_bin():
    test = make_scores(known=True)
    figure = frequency.accuracy_by_frequency(test, COUNTS, "t", tau=TAU)
    axes = figure.axes[0]
    accuracy = [
        np.mean([p == k for p, y in zip(test.prediction, test.labels, strict=True) if y == k]) for k in range(10)
    ]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.column_stack([COUNTS, accuracy]))
    bin_of = frequency._bins(np.array(COUNTS), "paper")
    means = [np.mean([a for a, b in zip(accuracy, bin_of, strict=True) if b == i]) for i in range(bin_of.max() + 1)]
    lines = lines_of(axes)
    np.testing.assert_allclose(lines["mean, closed set"][1], means)
    rejecting = lines["mean, rejecting below τ = 0.4"][1]
    assert (rejecting <= np.array(means) + 1e-12).all()
    assert (rejecting < np.array(means)).any()
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.texts} == {"many", "medium", "few"}


@pytest.mark.parametrize(("shots", "bounds"), [("paper", (19.5, 100.5)), ("code", (20.5, 99.5))])
def test_no_bin_and_no_line_crosses_a_border_between_shot_groups(shots, bounds):
    axes = frequency.accuracy_by_frequency(make_scores(known=True), COUNTS, "t", shots, TAU).axes[0]
    spans = [segment[:, 0] for lines in axes.collections[1:] for segment in lines.get_segments()]
    assert spans
    for low, high in spans:
        assert not any(low < bound < high for bound in bounds)
    assert {line.get_linestyle() for line in axes.lines if str(line.get_label()).startswith("mean")} == {"None"}


def test_bins_are_about_ten_equal_steps_of_log_count():
    counts = np.arange(1, 1001)
    bin_of = frequency._bins(counts, "paper")
    assert 9 <= bin_of.max() + 1 <= 11
    ratios = [counts[bin_of == i].max() / counts[bin_of == i].min() for i in range(bin_of.max() + 1)]
    assert max(ratios) < 2.6
    assert frequency._bins(np.array([7, 7, 7]), "paper").tolist() == [0, 0, 0]


@pytest.mark.parametrize(("shots", "bounds"), [("paper", (19.5, 100.5)), ("code", (20.5, 99.5))])
def test_bands_lie_between_the_groups(shots, bounds):
    axes = frequency.accuracy_by_frequency(make_scores(known=True), COUNTS, "t", shots).axes[0]
    bands = {patch.get_facecolor()[:3]: (patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches}
    assert bands[to_rgb(frequency.BANDS["few"])][1] == bounds[0]
    assert bands[to_rgb(frequency.BANDS["medium"])] == bounds
    assert bands[to_rgb(frequency.BANDS["many"])][0] == bounds[1]


def test_threshold_shows_the_metrics_at_each_tau():
    test, open_ = make_scores(known=True), make_scores(known=False)
    axes = plots.accuracy_by_threshold(test, open_, COUNTS, "t", tau=TAU).axes[0]
    lines = lines_of(axes)
    names = {
        "F-measure": "open/f_measure",
        "accuracy, overall": "open/overall",
        "accuracy, many-shot": "open/many",
        "accuracy, medium-shot": "open/medium",
        "accuracy, few-shot": "open/few",
    }
    for label, metric in names.items():
        x, y = lines[label]
        for i in range(0, len(x), 17):
            assert y[i] == pytest.approx(all_metrics(test, open_, COUNTS, float(x[i]))[metric], abs=1e-12)
    assert set(lines["τ = 0.4"][0]) == {TAU}


def test_training_shows_the_history_and_its_best_epoch():
    history = make_history(5)
    above, below = plots.training(history, "t").axes
    losses, accuracies = lines_of(above), lines_of(below)
    for label, key in (("sum", "loss"), ("classification", "loss/classification"), ("centroid", "loss/centroid")):
        np.testing.assert_array_equal(losses[label][0], [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(losses[label][1], [row[key] for row in history])
    np.testing.assert_array_equal(accuracies["overall"][1], [row["val/closed/overall"] for row in history])
    assert "medium" not in accuracies  # no class of that group anywhere
    assert set(accuracies["best: epoch 3"][0]) == {3}
    assert set(lines_of(plots.training(history, "t", best_epoch=2).axes[1])["best: epoch 2"][0]) == {2}


def test_group_confusion_writes_the_shares_into_the_cells():
    test, open_ = make_scores(known=True), make_scores(known=False)
    axes = plots.confused_groups(test, open_, COUNTS, "t", "paper", TAU).axes[0]

    def group(label: int, confidence: float = 1.0) -> int:
        if label < 0 or confidence < np.float32(TAU):
            return 3
        return 0 if COUNTS[label] > 100 else 2 if COUNTS[label] < 20 else 1

    table = np.zeros((4, 4))
    for scores in (test, open_):
        for prediction, confidence, label in zip(scores.prediction, scores.confidence, scores.labels, strict=True):
            table[group(label), group(prediction, confidence)] += 1
    expected = [f"{100 * share:.1f}" for row in table / table.sum(axis=1, keepdims=True) for share in row]
    assert [text.get_text() for text in axes.texts] == expected
    assert axes.get_yticklabels()[3].get_text() == "open\nn = 40"


def test_without_open_samples_what_needs_them_is_left_out(run_dir):
    (run_dir / "scores" / "open.npz").unlink()
    check_drawn(plots.save_run_plots(run_dir), {"accuracy-by-class-frequency", "confidence", "training"})


def test_an_empty_open_split_is_none(run_dir):
    empty = SavedScores(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
    empty.save(run_dir / "scores" / "open.npz")
    check_drawn(plots.save_run_plots(run_dir), {"accuracy-by-class-frequency", "confidence", "training"})


@pytest.mark.parametrize("history", ["", '{"epoch": 1, "lo'])
def test_without_an_epoch_there_is_no_training(run_dir, history):
    (run_dir / "metrics.jsonl").write_text(history)
    check_drawn(plots.save_run_plots(run_dir), ALL - {"training"})


def test_one_epoch_without_validation_is_drawn(run_dir):
    (run_dir / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "loss": 2.0, "loss/x": 2.0}) + "\n")
    write_result(run_dir, best_epoch=None)
    check_drawn(plots.save_run_plots(run_dir), ALL)


def test_no_scores_at_all(run_dir):
    for path in (run_dir / "scores").iterdir():
        path.unlink()
    check_drawn(plots.save_run_plots(run_dir), {"training"})


def test_equal_counts_one_class_and_classes_without_training_or_test_images(run_dir):
    for counts in ([7] * 10, [0, 0, *COUNTS[2:]], [*COUNTS, 40]):
        write_result(run_dir, class_counts=counts)
        check_drawn(plots.save_run_plots(run_dir), ALL)
    make_scores(known=True, classes=1).save(run_dir / "scores" / "test.npz")
    make_scores(known=False, classes=1).save(run_dir / "scores" / "open.npz")
    write_result(run_dir, class_counts=[12])
    check_drawn(plots.save_run_plots(run_dir), ALL)


def test_confidences_may_lie_anywhere(run_dir):
    test, open_ = make_scores(known=True), make_scores(known=False)
    for name, scores in (("test", test), ("open", open_)):
        shifted = SavedScores(scores.prediction, scores.confidence * 50 - 20, scores.labels)
        shifted.save(run_dir / "scores" / f"{name}.npz")
    check_drawn(plots.save_run_plots(run_dir), ALL)
    for name, scores in (("test", test), ("open", open_)):
        equal = SavedScores(scores.prediction, np.full(len(scores), 0.25, np.float32), scores.labels)
        equal.save(run_dir / "scores" / f"{name}.npz")
    check_drawn(plots.save_run_plots(run_dir), ALL)


def test_a_run_without_result_is_refused(run_dir):
    (run_dir / "result.json").unlink()
    with pytest.raises(DataProblem, match="is not finished"):
        plots.save_run_plots(run_dir)


def test_broken_scores_are_named(run_dir):
    (run_dir / "scores" / "test.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataProblem, match=r"test\.npz"):
        plots.save_run_plots(run_dir)


def test_curves_of_rejection_are_the_shares_below_each_threshold():
    test, open_ = make_scores(True), make_scores(False)
    axes = rejected_by_threshold(test, open_, COUNTS, "title", "paper", 0.3).axes[0]
    group_of = {name: mask[test.labels] for name, mask in shot_groups(COUNTS).items() if mask.any()}
    curves = {line.get_label().partition(" ")[0].rstrip(","): line.get_xydata() for line in axes.lines}
    assert set(curves) == {"open", "τ", *group_of}
    for name, confidence in {"open": open_.confidence, **{g: test.confidence[m] for g, m in group_of.items()}}.items():
        for tau, share in curves[name][::50]:
            assert share == np.mean(confidence < confidence.dtype.type(tau))
