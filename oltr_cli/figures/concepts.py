"""Figure 7: the three strongest neurons of e ⊙ v_memory of an image, and the training patches that excite each most.

Only neurons that the memory raises are shown; ``patches`` says what a neuron and its patches are.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.figures.curves import Floats
from oltr_cli.figures.images import bare, tiled, wrapped
from oltr_cli.figures.networks import Opened, pick_images, places
from oltr_cli.figures.patches import PATCHES, Patch, find_patches
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, find, method_rows
from oltr_cli.figures.scores import add_surest, class_counts, class_names
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.rows import RowSpec

NEURONS = 3
NAME = 125.0  # points of a line above and below an image


@dataclass(frozen=True)
class Neuron:
    """One of the largest components of e ⊙ v_memory, with its value there and its patches."""

    number: int
    infused: float
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class Sample:
    """A test image (S, S, 3) with the answers of the plain model and the method."""

    name: str
    class_name: str
    training_images: int
    group: str
    plain: str
    own: str
    image: NDArray[np.uint8]
    neurons: tuple[Neuron, ...]

    @property
    def failed(self) -> bool:
        return self.own != self.class_name


@dataclass(frozen=True)
class Data:
    """Samples in rows, and the names of the two models."""

    samples: tuple[Sample, ...]
    plain: str
    own: str

    def table(self) -> Table:
        columns = ["image", "class", "training_images", "group", self.plain, self.own, "rank", "neuron", "infused"]
        columns += ["patch", "patch_image", "patch_class", "activation", "left", "top", "right", "bottom"]
        return columns, [
            [
                s.name,
                s.class_name,
                s.training_images,
                s.group,
                s.plain,
                s.own,
                rank,
                n.number,
                n.infused,
                place,
                p.image,
                p.class_name,
                p.activation,
                *p.box,
            ]
            for s in self.samples
            for rank, n in enumerate(s.neurons, 1)
            for place, p in enumerate(n.patches, 1)
        ]


def rows(request: Request) -> list[RowSpec]:
    found = method_rows(request, ("plain", "dme"), least=2)
    if len(found) > 2:
        raise UsageProblem("compares one method with the plain model; name two with --methods")
    return found


def gather(request: Request) -> Gathered[Data]:
    (plain, own), notes = find(request, rows(request))
    run = own.runs[0]
    plain_run = next((one for one in plain.runs if one.seed == run.seed), plain.runs[0])
    test, before = (SavedScores.load(r.scores("test")) for r in (run, plain_run))
    if len(test) != len(before) or (test.labels != before.labels).any():
        raise DataProblem(f"{run.name} and {plain_run.name} were tested on different images")
    opened = Opened.load(run, request)
    split, counts, names = opened.dataset.splits["test"], class_counts(run), class_names(run)
    where = places(test, split, str(run.scores("test")))
    saved = {int(i): row for row, i in enumerate(where)}
    if request.images:
        indices = pick_images(request.images, split)
    else:
        indices = [int(where[row]) for row in examples(before, test, counts, request.shots)]
    if not indices:
        raise DataProblem(f"{run.name}: no test image to show; choose some with --image")
    crops = [opened.crop("test", i) for i in indices]
    maps = opened.feature_maps(crops)
    if math.prod(maps.shape[2:]) == 1:
        notes += ("the feature map has 1 × 1 cells, so a patch is a whole image",)
    infused = infusions(opened, maps)
    top = [strongest_neurons(values) for values in infused]
    patches = find_patches(opened, np.unique(np.concatenate(top)), request.display)
    groups = shot_groups(counts, request.shots)
    samples = tuple(
        Sample(
            split.names[i],
            names[split.labels[i]],
            int(counts[split.labels[i]]),
            next(name for name in GROUPS if groups[name][split.labels[i]]),
            names[before.prediction[saved[i]]],
            names[test.prediction[saved[i]]],
            crop,
            tuple(Neuron(int(d), float(values[d]), patches[int(d)]) for d in neurons),
        )
        for i, crop, values, neurons in zip(indices, crops, infused, top, strict=True)
    )
    return Gathered(Data(samples, plain.label, own.label), (plain_run, run), notes)


def examples(plain: SavedScores, own: SavedScores, counts: ClassCounts, shots: str) -> list[int]:
    """Up to four test samples of different classes, chosen as in the paper.

    Three that the plain model gets wrong and the method right, of a few-shot, a medium-shot and again a few-shot class
    (or of any other), and one where it is the other way round; each the one with the winner's highest confidence.
    """
    groups = shot_groups(counts, shots)
    gained = (plain.prediction != plain.labels) & (own.prediction == own.labels)
    lost = (plain.prediction == plain.labels) & (own.prediction != own.labels)
    chosen: list[int] = []
    for mask, by, order in (
        (gained, own, ("few", "medium", "many")),
        (gained, own, ("medium", "few", "many")),
        (gained, own, ("few", "medium", "many")),
        (lost, plain, ("many", "medium", "few")),
    ):
        add_surest(chosen, by, mask, groups, order)
    return chosen


@torch.inference_mode()
def infusions(opened: Opened, f: Tensor) -> Floats:
    """e ⊙ v_memory (B, D) of feature maps before attention (B, C, h, w).

    Raises:
        UsageProblem: the method has no memory.
    """
    network = opened.recogniser.network
    infused = network.infusion(network.backbone.pool(f if opened.attention is None else opened.attention(f)))
    if infused is None:
        raise UsageProblem(f"{opened.run.name} has no memory feature; use a method that has: --methods plain,dme")
    return np.asarray(infused.double().cpu())


def strongest_neurons(infused: Floats) -> NDArray[np.int64]:
    """The neurons with the largest values (≤ NEURONS,) of e ⊙ v_memory (D,), largest first; only what is above 0."""
    order = np.argsort(-infused, kind="stable")[:NEURONS]
    return order[infused[order] > 0]


def _names(data: Data, sample: Sample) -> tuple[str, str]:
    """Texts above and below an image: its class, and what the two models say."""
    above = f"{wrapped(sample.class_name, NAME, 8)}\n{sample.group}-shot, n = {sample.training_images:,}"
    plain = wrapped(sample.plain, NAME, 7.5, 3, f"{data.plain}: ")
    own = wrapped(sample.own, NAME, 7.5, 3, f"{data.own}: ", " ✗" if sample.failed else " ✓")
    return above, f"{plain}\n{own}"


def draw(data: Data) -> Figure:
    n = len(data.samples)
    names = [_names(data, sample) for sample in data.samples]
    further = sum(text.count("\n") - 1 for pair in names for text in pair)  # lines, of names longer than one
    figure = Figure(figsize=(7.6, 1.75 * n + 0.15 * further), layout="constrained")
    grid = figure.subplots(n, 1 + NEURONS, squeeze=False, width_ratios=[1.4] + NEURONS * [1.5])
    for row, sample, (above, below) in zip(grid, data.samples, names, strict=True):
        row[0].imshow(sample.image, interpolation="nearest")
        row[0].set_title(above, loc="center", fontsize=8, pad=7 if sample.failed else 3)  # clear of the frame
        row[0].set_xlabel(below, fontsize=7.5, color="#B00020" if sample.failed else "black", labelpad=2)
        for axes, neuron in zip(row[1:], sample.neurons, strict=False):
            axes.imshow(tiled([patch.pixels for patch in neuron.patches], PATCHES // 2))
            axes.set_title(f"neuron {neuron.number}: {neuron.infused:+.2g} infused", loc="center", fontsize=8)
        for axes in row[1 + len(sample.neurons) :]:
            axes.text(0.5, 0.5, "no further neuron\nis raised", ha="center", va="center", fontsize=8, color="#666666")
        for axes in row:
            bare(axes)
        if sample.failed:
            row[0].spines[:].set(visible=True, color="#B00020", linewidth=2.5)
    return figure


FIGURE = FigureSpec("7", "top-3 visual concepts infused by the memory feature", rows, gather, draw)
