"""A labelling campaign on the saved scores of a finished run: rounds of picks, labels revealed, the head trained again.

The run's training images have labels. The pile is a random half of each known class's test images and all open ones:
images that the network has not seen. Accuracy is measured on the other half, which nothing else reads. val and open_val
judge the score, as they do for ``oltr data active``.

The network stays as the run trained it, without the labels found later. Only a linear head on its saved features is
trained again, from nothing, by the balanced softmax (Ren et al. 2020), since plain softmax leaves few-shot classes at
nearly 0. A label of an open image says only that it is of no known class: it takes its place in the budget, and does
not train.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from oltr_cli.inference.active.choose import Rows, least_known
from oltr_cli.inference.active.measure import Measure, best_measure
from oltr_cli.method import Scores
from oltr_cli.protocol.metrics import per_class_accuracy
from oltr_cli.protocol.shots import GROUPS, shot_groups
from oltr_cli.recipe.train import TrainSpec
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import SavedScores

FEW = 20  # images of a class, below which it is few-shot
NEW_CLASS = 5  # images from which oltr add-class makes a useful class

Head = Callable[[SavedScores], SavedScores]


@dataclass(frozen=True)
class Start:
    """What a campaign begins with; all features are of one frozen network.

    Attributes:
        labelled: training images; ``pile``: unlabelled ones, whose labels are revealed when they are picked;
            ``held_out``: judge the head.
        kinds: class name (N,) of each image in the pile, of open ones too, as the folder says.
        train: rates, epochs and the like of the head.
    """

    labelled: SavedScores
    pile: SavedScores
    held_out: SavedScores
    val: SavedScores
    open_val: SavedScores | None
    kinds: NDArray[np.str_]
    class_counts: NDArray[np.int64]
    shots: str
    train: TrainSpec
    seed: int

    @classmethod
    def of(cls, run: Run, train: TrainSpec, shots: str, seed: int) -> "Start":
        """From the saved scores of a finished run of plain, its training set's among them."""
        splits = {name: SavedScores.load(run.scores(name)) for name in ("train", "val", "test", "open")}
        open_val = SavedScores.load(run.scores("open_val")) if run.scores("open_val").exists() else None
        test = splits["test"]
        in_pile = half_of_each_class(test.labels, seed)
        pile = joined(test.take(np.flatnonzero(in_pile)), splits["open"])
        assert pile.paths is not None
        return cls(
            splits["train"],
            pile,
            test.take(np.flatnonzero(~in_pile)),
            splits["val"],
            open_val,
            np.array([kind(path) for path in pile.paths.tolist()]),
            np.bincount(splits["train"].labels),
            shots,
            train,
            seed,
        )


@dataclass
class Course:
    """What a campaign led to, by round; the first entry of what the head gives is before the first pick.

    Attributes:
        accuracy: closed-set, of "overall" and of the shot groups that the classes were in at the start.
        labelled: images of known classes with a label.
        few_left: classes with fewer than 20 of them.
        open_picks, few_picks: picks of the round that are open, and of classes that were few-shot at the start.
        few_found: share of these classes with a pick so far; ``new_classes``: open ones with at least five.
        groups: that the picks of the round come from.
        measures: what was known of the score.
    """

    accuracy: dict[str, list[float]] = field(default_factory=dict)
    labelled: list[int] = field(default_factory=list)
    few_left: list[int] = field(default_factory=list)
    open_picks: list[int] = field(default_factory=list)
    few_picks: list[int] = field(default_factory=list)
    few_found: list[float] = field(default_factory=list)
    new_classes: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)


# Rows of the pile that are not picked yet and the head → the rows to label, and what is known of their order.
Picker = Callable[
    [Start, NDArray[np.int64], Head, int, np.random.Generator], tuple[NDArray[np.int64], int, Measure | None]
]


def product(
    start: Start, left: NDArray[np.int64], head: Head, budget: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int, Measure | None]:
    """What ``oltr data active`` chooses, by the functions that it calls."""
    measure = judged(start, head)
    picked, spread = least_known(rows_of(head(start.pile.take(left)), left), budget, start.val.features)
    return picked.paths.astype(np.int64), len(np.unique(spread.groups)), measure


def not_spread(
    start: Start, left: NDArray[np.int64], head: Head, budget: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int, Measure | None]:
    """The least known ones, however alike they are."""
    picked = rows_of(head(start.pile.take(left)), left).least_known(budget)
    return picked.paths.astype(np.int64), 0, judged(start, head)


def at_random(
    start: Start, left: NDArray[np.int64], head: Head, budget: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int, Measure | None]:
    """Any."""
    return rng.choice(left, min(budget, len(left)), replace=False), 0, None


PICKERS: dict[str, Picker] = {"active": product, "not spread": not_spread, "random": at_random}


def campaign(start: Start, pick: Picker, rounds: int, budget: int) -> Course:
    """``rounds`` rounds of ``budget`` picks each."""
    course, rng = Course(), np.random.default_rng(start.seed)
    few_at_start = start.class_counts < FEW
    labels = start.pile.labels
    is_few = (labels >= 0) & few_at_start[labels]
    left, picked = np.arange(len(start.pile)), np.empty(0, np.int64)
    for number in range(rounds + 1):
        found = start.pile.take(picked[labels[picked] >= 0])
        head = trained(joined(start.labelled, found), start)
        counts = start.class_counts + np.bincount(found.labels, minlength=len(start.class_counts))
        _note_head(course, start, head, counts)
        if number == rounds:
            return course
        new, groups, measure = pick(start, left, head, budget, rng)
        picked, left = np.concatenate([picked, new]), np.setdiff1d(left, new)
        course.open_picks.append(int((labels[new] < 0).sum()))
        course.few_picks.append(int(is_few[new].sum()))
        course.few_found.append(len(np.unique(labels[picked][is_few[picked]])) / max(1, int(few_at_start.sum())))
        times = np.unique(start.kinds[picked][labels[picked] < 0], return_counts=True)[1]
        course.new_classes.append(int((times >= NEW_CLASS).sum()))
        course.groups.append(groups)
        if measure is not None:
            course.measures.append(measure)
    return course


def _note_head(course: Course, start: Start, head: Head, counts: NDArray[np.int64]) -> None:
    by_class = per_class_accuracy(head(start.held_out), len(counts))
    groups = {"overall": np.ones(len(counts), np.bool_), **shot_groups(start.class_counts, start.shots)}
    for name in ("overall", *GROUPS):
        if groups[name].any():
            course.accuracy.setdefault(name, []).append(float(np.nanmean(by_class[groups[name]])))
    course.labelled.append(int(counts.sum()))
    course.few_left.append(int((counts < FEW).sum()))


def judged(start: Start, head: Head) -> Measure:
    """What is known of the head's confidence, from val and open_val."""
    pair = (head(start.val), None if start.open_val is None else head(start.open_val))
    return best_measure(
        {"confidence": pair}, start.class_counts, start.shots, "confidence", "the head has no centroids"
    )


def rows_of(scores: SavedScores, names: NDArray[np.int64]) -> Rows:
    """Images as ``oltr data active`` orders them, by their confidence."""
    assert scores.features is not None
    return Rows(
        names.astype(object),
        -scores.confidence.astype(np.float32),
        scores.confidence.astype(np.float32),
        np.full(len(scores), np.nan, np.float32),
        scores.prediction,
        scores.prediction,
        np.zeros(len(scores), np.bool_),
        np.asarray(scores.features, np.float32),
    )


def trained(labelled: SavedScores, start: Start) -> Head:
    """A linear head for saved features, with rates, epochs and batches of ``start.train``."""
    assert labelled.features is not None
    spec, counts = start.train, np.bincount(labelled.labels, minlength=len(start.class_counts))
    torch.manual_seed(start.seed)
    x = torch.from_numpy(np.asarray(labelled.features, np.float32))
    y = torch.from_numpy(labelled.labels)
    prior = torch.from_numpy(counts).float().log()
    head = nn.Linear(x.shape[1], len(counts))
    steps = -(-len(x) // spec.batch_size)
    sgd = torch.optim.SGD(
        head.parameters(), spec.lr["classifier"], momentum=spec.momentum, weight_decay=spec.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps * spec.epochs)
    for _ in range(spec.epochs):
        for rows in torch.randperm(len(x)).split(spec.batch_size):
            sgd.zero_grad()
            F.cross_entropy(head(x[rows]) + prior, y[rows]).backward()
            sgd.step()
            schedule.step()

    @torch.inference_mode()
    def scored(scores: SavedScores) -> SavedScores:
        features = torch.from_numpy(np.asarray(scores.features, np.float32))
        said = Scores.from_logits(head(features), features)
        return SavedScores(
            said.logits.argmax(dim=1).numpy(), said.confidence.numpy(), scores.labels, features=scores.features
        )

    return scored


def half_of_each_class(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """A random half (N,) of the images of each class; of an odd number the smaller one."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros(len(labels), np.bool_)
    chosen[by_class] = place < (counts // 2)[labels[by_class]]
    return chosen


def joined(first: SavedScores, second: SavedScores) -> SavedScores:
    """The images of both, with features; other arrays only where both have them."""
    parts = {
        name: np.concatenate([array, getattr(second, name)])
        for name, array in vars(first).items()
        if array is not None and getattr(second, name) is not None
    }
    return SavedScores(**parts)


def kind(path: str) -> str:
    """The class of an image: the folder that it is in, or the character that was drawn."""
    folder, _, name = path.rpartition("/")
    return name.split()[0] if " " in name else folder
