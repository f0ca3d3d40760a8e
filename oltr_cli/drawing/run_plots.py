"""The pictures in every run's ``plots`` folder, drawn from its saved scores, history and result."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oltr_cli.drawing.certainty import confidence_histograms, reliability
from oltr_cli.drawing.frequency import accuracy_by_frequency
from oltr_cli.drawing.rejection import rejected_by_threshold
from oltr_cli.drawing.style import (
    BLUES,
    INKS,
    LINES,
    PERCENT,
    STYLES,
    legend_below,
    mark,
    one_plot,
    plain_log,
    save_pngs,
    tau_text,
)
from oltr_cli.protocol.by_group import Probabilities
from oltr_cli.protocol.metrics import Threshold, group_confusion, threshold_curve
from oltr_cli.protocol.saved_thresholds import default_threshold
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.history import read_history
from oltr_cli.runs.result import read_result
from oltr_cli.runs.scores import SavedScores


def save_run_plots(run_dir: Path) -> list[Path]:
    """Draw a finished run into ``run_dir/plots`` and return the PNGs written.

    They are accuracy-by-class-frequency, confidence, reliability, threshold, rejection, training and group-confusion;
    one whose input is missing (no open samples, no logits, no epochs) is left out.

    Raises:
        DataProblem: the run is not finished, or a file of its results or scores is broken.
    """
    result = read_result(run_dir)
    counts, shots, chosen = result.class_counts, result.shots, default_threshold(run_dir, result)
    tau, one_tau = chosen.tau, None if chosen.by_class else chosen.value  # a τ by class is no place on an axis
    title = f"{result.method} on {result.dataset}, seed {result.seed}"
    test, open_ = (_scores(run_dir, split) for split in ("test", "open"))
    history = read_history(run_dir / "metrics.jsonl")
    drawings: dict[str, Callable[[], Figure]] = {}
    if test is not None:
        known = test
        drawings["accuracy-by-class-frequency"] = lambda: accuracy_by_frequency(
            known, counts, title, shots, tau if open_ is not None else None
        )
        if (found := Probabilities.of(known)) is not None:
            drawings["reliability"] = lambda: reliability(known, found, counts, title, shots)
        drawings["confidence"] = lambda: confidence_histograms(
            known, open_, counts, title, shots, one_tau if open_ is not None else None
        )
        if open_ is not None:
            drawings["threshold"] = lambda: accuracy_by_threshold(known, open_, counts, title, shots, one_tau)
            drawings["rejection"] = lambda: rejected_by_threshold(known, open_, counts, title, shots, one_tau)
            drawings["group-confusion"] = lambda: confused_groups(known, open_, counts, title, shots, tau)
    if history:
        drawings["training"] = lambda: training(history, title, result.best_epoch)
    return save_pngs(run_dir / "plots", drawings)


def accuracy_by_threshold(
    test: SavedScores,
    open_: SavedScores,
    class_counts: ClassCounts,
    title: str,
    shots: str = "paper",
    tau: float | None = None,
) -> Figure:
    """F-measure and open-set accuracy, overall and by shot group, against τ, with τ marked."""
    curve = threshold_curve(test, open_, shot_groups(class_counts, shots))
    figure, axes = one_plot()
    x = curve["tau"]
    assert x is not None
    if curve["f_measure"] is not None:
        axes.plot(x, curve["f_measure"], color="#CC79A7", lw=4.0, label="F-measure")
    for name in ("overall", *GROUPS):
        accuracy = curve[name]
        if accuracy is not None:
            color, dashes, marker = STYLES[name]
            label = "accuracy, overall" if name == "overall" else f"accuracy, {name}-shot"
            axes.plot(x, accuracy, color=color, ls=dashes, marker=marker, markevery=20, label=label)
    if tau is not None and np.isfinite(tau):
        mark(axes, tau, f"τ = {tau:.3g}")
    axes.set(ylim=(0.0, None), title=title)
    axes.margins(x=0.02)
    axes.set_xlabel("threshold τ on the confidence (rejected below)")
    axes.set_ylabel("open-set accuracy and F-measure [%]")
    axes.yaxis.set_major_formatter(PERCENT)
    legend_below(figure, axes, 3)
    return figure


def training(history: Sequence[Mapping[str, Any]], title: str, best_epoch: int | None = None) -> Figure:
    """Loss terms above, validation accuracy below, by epoch, with the best epoch marked.

    Args:
        history: rows of metrics.jsonl, at least one; a value that a row lacks is a gap.
        best_epoch: by default the epoch of highest validation accuracy.
    """
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(8.0, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    terms = [name for name in history[0] if name.startswith("loss/")]
    names = ["loss", *terms] if len(terms) != 1 else terms
    drawn = {name: _column(history, name) for name in names}
    for i, (name, values) in enumerate(drawn.items()):
        label = "sum" if name == "loss" else name.removeprefix("loss/")
        above.plot(epochs, values, color=INKS[i % len(INKS)], ls=LINES[i % len(LINES)], marker="o", label=label)
    everything = np.concatenate(list(drawn.values()))
    everything = everything[np.isfinite(everything)]
    # Terms of very different size share a log axis, if all of them are positive.
    if len(everything) and everything.min() > 0 and everything.max() > 50 * everything.min():
        above.set_yscale("log")
        plain_log(above.yaxis)
    for name in ("overall", *GROUPS):
        values = _column(history, f"val/closed/{name}")
        if np.isfinite(values).any():
            color, dashes, marker = STYLES[name]
            below.plot(epochs, values, color=color, ls=dashes, marker=marker, label=name)
    overall = _column(history, "val/closed/overall")
    if best_epoch is None and np.isfinite(overall).any():
        best_epoch = epochs[int(np.nanargmax(overall))]
    if best_epoch is not None:
        mark(above, best_epoch, None)
        mark(below, best_epoch, f"best: epoch {best_epoch}")
    above.set(title=title, ylabel="training loss")
    below.set(ylim=(0.0, None), xlabel="epoch", ylabel="validation accuracy [%]")
    below.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    below.yaxis.set_major_formatter(PERCENT)
    for axes in (above, below):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def confused_groups(
    test: SavedScores, open_: SavedScores, class_counts: ClassCounts, title: str, shots: str, tau: Threshold
) -> Figure:
    """Where the samples of each shot group and the open ones land, in % of the row; a rejected sample lands in open."""
    shares = group_confusion(test, open_, class_counts, tau, shots)
    groups = shot_groups(class_counts, shots)
    samples = [int(np.isin(test.labels, np.flatnonzero(groups[name])).sum()) for name in GROUPS] + [len(open_)]
    names = (*GROUPS, "open")
    figure = Figure(figsize=(8.0, 6.4), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=BLUES, vmin=0.0, vmax=1.0, aspect="auto")
    for row in range(4):
        for column in range(4):
            text = f"{100 * shares[row, column]:.1f}" if samples[row] else "–"
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=15)
    axes.set_xticks(range(4), [*GROUPS, "open\n(rejected)"])
    axes.set_yticks(range(4), [f"{name}\nn = {n:,}" for name, n in zip(names, samples, strict=True)])
    axes.set(xlabel=f"group of the decision at {tau_text(tau)}", ylabel="group of the true class", title=title)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, format=PERCENT)
    bar.set_label("share of the row [%]")
    bar.outline.set_visible(False)
    return figure


def _scores(run_dir: Path, split: str) -> SavedScores | None:
    """The scores of a split, or None if there are none."""
    path = run_dir / "scores" / f"{split}.npz"
    scores = SavedScores.load(path) if path.exists() else None
    return scores if scores is not None and len(scores) else None


def _column(history: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One value of each row (epochs,), NaN if it is missing."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in history], np.float64)
