"""Figure 3: t-SNE of test features of the plain model and of dynamic meta-embedding, with head, tail and open classes.

A few classes of each kind, drawn at random, keep single clusters visible: head are many-shot and tail few-shot classes.
The figure shows the features that a method decides by: plain's v, dme's v_meta from its saved v and the run's weights.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from oltr_cli.base.seeding import derive, generator
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.figures.curves import Floats
from oltr_cli.figures.images import plain_text
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, find, method_rows
from oltr_cli.figures.scores import (
    class_counts,
    class_names,
    classes_of_open,
    known_and_open,
    open_classes,
    shown,
)
from oltr_cli.protocol.shots import ClassCounts, shot_groups
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.rows import RowSpec

CLASSES = 5  # of each kind
PER_CLASS = 40  # samples at most
PERPLEXITY = 30.0
KINDS = {"head": ("#0072B2", "o"), "tail": ("#D55E00", "^"), "open": ("#555555", "x")}


@dataclass(frozen=True)
class Chosen:
    """The test samples to show, S of them.

    Attributes:
        rows: (S,) positions among the known test samples followed by the open ones.
        class_of: (S,) number of the class in ``classes``.
        classes: (kind, name) of each class.
        paths: (S,) names of the samples.
    """

    rows: NDArray[np.int64]
    class_of: NDArray[np.int64]
    classes: tuple[tuple[str, str], ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """Positions (S, 2) of the chosen samples for each method."""

    chosen: Chosen
    positions: dict[str, Floats]

    def table(self) -> Table:
        kinds = [self.chosen.classes[c] for c in self.chosen.class_of]
        columns = ["method", "image", "kind", "class", "x", "y"]
        return columns, [
            [method, path, *kind, float(x), float(y)]
            for method, at in self.positions.items()
            for path, kind, (x, y) in zip(self.chosen.paths, kinds, at, strict=True)
        ]


def rows(request: Request) -> list[RowSpec]:
    return method_rows(request, ("plain", "dme"))


def gather(request: Request) -> Gathered[Data]:
    found, notes = find(request, rows(request), usable=classes_of_open)
    runs = [one.runs[0] for one in found]
    known, open_ = known_and_open(runs[0])
    chosen = choose(known, open_, str(runs[0].scores("open")), class_counts(runs[0]), class_names(runs[0]), request)
    positions: dict[str, Floats] = {}
    with request.display.bar("t-SNE", len(runs), "methods") as bar:
        for one, run in zip(found, runs, strict=True):
            features = embeddings(run, chosen, request)
            positions[one.label] = embed(features, derive(request.lot, "t-SNE"))
            bar.advance()
    notes += (f"{CLASSES} head, tail and open classes drawn at random (seed {request.lot}); perplexity {PERPLEXITY:g}",)
    return Gathered(Data(chosen, positions), tuple(runs), notes)


def choose(
    known: SavedScores, open_: SavedScores, where: str, counts: ClassCounts, names: list[str], request: Request
) -> Chosen:
    """Up to CLASSES classes of each kind, and up to PER_CLASS samples of each class.

    Raises:
        DataProblem: open classes cannot be told apart, or there is no sample of a head or tail class.
    """
    groups = shot_groups(counts, request.shots)
    open_class, open_names = open_classes(open_, where)
    present = np.bincount(known.labels, minlength=len(names)) > 0
    pools = {
        "head": np.flatnonzero(groups["many"] & present),
        "tail": np.flatnonzero(groups["few"] & present),
        "open": np.arange(len(open_names)),
    }
    rows: list[NDArray[np.int64]] = []
    class_of: list[NDArray[np.int64]] = []
    classes: list[tuple[str, str]] = []
    for kind, pool in pools.items():
        rng = generator(request.lot, "figure 3", kind)
        for label in sorted(rng.permutation(pool)[:CLASSES].tolist()):
            members = np.flatnonzero((open_class if kind == "open" else known.labels) == label)
            picked = np.sort(rng.permutation(members)[:PER_CLASS])
            rows.append(picked + (len(known) if kind == "open" else 0))
            class_of.append(np.full(len(picked), len(classes)))
            classes.append((kind, shown(open_names[label]) if kind == "open" else names[label]))
    if not any(kind != "open" for kind, _ in classes):
        raise DataProblem("shows many-shot and few-shot classes, but the test set has neither")
    index = np.concatenate(rows)
    paths = [*_names(known), *_names(open_)]
    return Chosen(index, np.concatenate(class_of), tuple(classes), tuple(paths[i] for i in index))


def _names(scores: SavedScores) -> list[str]:
    return [""] * len(scores) if scores.paths is None else [str(path) for path in scores.paths]


def embeddings(run: Run, chosen: Chosen, request: Request) -> Floats:
    """The features that the run decides by (S, D), from its saved ones.

    Raises:
        DataProblem: no features are saved, or they are of other samples than ``chosen``.
    """
    import torch

    from oltr_cli.figures.networks import load_network
    from oltr_cli.networks.layers import full_precision

    known, open_ = known_and_open(run)
    if known.features is None or open_.features is None:
        raise DataProblem(f"{run.name}: its scores have no features; choose another method with --methods")
    paths = [*_names(known), *_names(open_)]
    if len(paths) <= chosen.rows.max() or tuple(paths[i] for i in chosen.rows) != chosen.paths:
        raise DataProblem(f"{run.name}: was tested on other images than the other method")
    v = np.concatenate([known.features, open_.features])[chosen.rows].astype(np.float32)
    recogniser = load_network(run, request)
    with torch.inference_mode():
        made = recogniser.network.embedding(full_precision(torch.from_numpy(v)).to(recogniser.device))
    return made.double().cpu().numpy()


def embed(features: Floats, seed: int) -> Floats:
    """t-SNE positions (S, 2) of features (S, D), from a PCA start.

    Raises:
        UsageProblem: fewer than four samples.
    """
    from sklearn.manifold import TSNE

    if len(features) < 4:
        raise UsageProblem(f"t-SNE needs at least 4 samples, but there are only {len(features)}")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed % 2**32)
    return tsne.fit_transform(features.astype(np.float32)).astype(np.float64)


def draw(data: Data) -> Figure:
    count = len(data.positions)
    figure = Figure(figsize=(3.6 * count, 4.3), layout="constrained")
    grid = figure.subplots(1, count, squeeze=False)[0]
    chosen = data.chosen
    for letter, axes, (method, at) in zip("abcdefgh", grid, data.positions.items(), strict=False):
        for number, (kind, _) in enumerate(chosen.classes):
            color, marker = KINDS[kind]
            own = at[chosen.class_of == number]
            filled = {"edgecolors": "white", "linewidths": 0.3} if marker != "x" else {"linewidths": 0.8}
            axes.scatter(own[:, 0], own[:, 1], s=18, color=color, marker=marker, **filled)
        axes.set_title(f"({letter}) {method}", loc="center")
        axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2", aspect="equal", adjustable="datalim")
        axes.grid(visible=False)
        axes.spines[:].set(visible=True, color="#999999")
    handles = [
        Line2D([], [], ls="", marker=marker, color=color, label=_legend(kind, chosen))
        for kind, (color, marker) in KINDS.items()
        if any(k == kind for k, _ in chosen.classes)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=1, fontsize=8, handletextpad=0.3)
    return figure


def _legend(kind: str, chosen: Chosen) -> str:
    names = [plain_text(name, 24) for k, name in chosen.classes if k == kind]
    return f"{kind}: {', '.join(names)}"


FIGURE = FigureSpec("3", "t-SNE of test features", rows, gather, draw)
