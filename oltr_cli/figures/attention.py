"""Figure 4: modulated attention over two test images, one of a head class and one of a tail class.

Per cell of the last feature map f: the strength of self-attention ‖SA(f)‖, the modulation MA(f), and their product
‖MA(f) ⊗ SA(f)‖, which is added to f (Eq. 5). For an ablation with spatial attention, f takes the place of SA(f).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.figures.curves import Floats
from oltr_cli.figures.images import SCALE, SCALE_TICKS, bare, overlay, wrapped
from oltr_cli.figures.request import FigureSpec, Gathered, Request, Table, find, method_rows
from oltr_cli.figures.scores import add_surest, class_counts, class_names
from oltr_cli.networks.layers import Attention
from oltr_cli.protocol.shots import GROUPS, ClassCounts, shot_groups
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tables.rows import RowSpec

if TYPE_CHECKING:
    from oltr_cli.figures.networks import Opened

LARGEST_IMAGE = 1024  # pixels of data.image_size that a recipe may have


@dataclass(frozen=True)
class Sample:
    """One image and its maps.

    Attributes:
        image: uint8 (S, S, 3), as the network sees it.
        self_attention, modulation, product: (h, w) over the cells of the feature map; modulation sums to 1.
    """

    name: str
    class_name: str
    training_images: int
    group: str
    predicted: str
    image: NDArray[np.uint8]
    self_attention: Floats
    modulation: Floats
    product: Floats


@dataclass(frozen=True)
class Data:
    """Samples in rows; ``kind``: modulated or spatial."""

    samples: tuple[Sample, ...]
    kind: str

    def table(self) -> Table:
        columns = ["image", "class", "training_images", "group", "predicted", "row", "column"]
        columns += ["self_attention" if self.kind == "modulated" else "feature", "modulation", "product"]
        return columns, [
            [s.name, s.class_name, s.training_images, s.group, s.predicted, y, x]
            + [float(m[y, x]) for m in (s.self_attention, s.modulation, s.product)]
            for s in self.samples
            for y, x in np.ndindex(s.modulation.shape)
        ]


def rows(request: Request) -> list[RowSpec]:
    found = method_rows(request, ("dme",))
    if len(found) > 1:
        raise UsageProblem("shows one method; name one with --methods")
    return found


def gather(request: Request) -> Gathered[Data]:
    from oltr_cli.figures.networks import Opened, pick_images, places

    (one,), notes = find(request, rows(request))
    run = one.runs[0]
    test = SavedScores.load(run.scores("test"))
    opened = Opened.load(run, request)
    if opened.attention is None:
        raise UsageProblem(f"{run.name} has no attention; use a method that has: --methods dme")
    refuse_one_cell(opened)
    split, counts, names = opened.dataset.splits["test"], class_counts(run), class_names(run)
    where = places(test, split, str(run.scores("test")))
    indices = pick_images(request.images, split) or [int(where[i]) for i in head_and_tail(test, counts, request.shots)]
    if not indices:
        raise DataProblem(f"{run.name}: classified no test image correctly; choose some with --image")
    decided = dict(zip(where.tolist(), test.prediction.tolist(), strict=True))
    crops = [opened.crop("test", i) for i in indices]
    maps = attention_maps(opened.attention, opened.feature_maps(crops))
    groups = shot_groups(counts, request.shots)
    samples = []
    for i, crop, parts in zip(indices, crops, maps, strict=True):
        label = int(split.labels[i])
        group = next(name for name in GROUPS if groups[name][label])
        predicted = names[decided[i]] if i in decided else ""
        samples.append(Sample(split.names[i], names[label], int(counts[label]), group, predicted, crop, *parts))
    kind = "spatial" if opened.attention.self_attention is None else "modulated"
    h, w = samples[0].modulation.shape
    notes += (f"the feature map has {h} × {w} cells for {crops[0].shape[0]} × {crops[0].shape[1]} pixels",)
    return Gathered(Data(tuple(samples), kind), (run,), notes)


def refuse_one_cell(opened: "Opened") -> None:
    """Over a single cell the softmax is always 1: a picture of it would show no attention.

    Raises:
        UsageProblem: the map is 1 × 1; says which recipe has a larger one.
    """
    backbone, data = opened.recogniser.network.backbone, opened.recogniser.recipe.data
    if math.prod(backbone.map_size(data.image_size)) > 1:
        return
    sizes = (data.image_size * 2**i for i in range(1, 8))
    larger = next((s for s in sizes if s <= LARGEST_IMAGE and math.prod(backbone.map_size(s)) > 1), None)
    advice = "choose a backbone with a larger map"
    if larger is not None:
        h, w = backbone.map_size(larger)
        resize = f" --set data.eval_resize={larger}" if data.eval_resize < larger else ""
        advice = f"train with --set data.image_size={larger}{resize}, or the same in the recipe, for {h} × {w} cells"
    raise UsageProblem(
        f"{opened.run.name}: its feature map has 1 × 1 cells for {data.image_size} × {data.image_size} pixels, and "
        f"over one cell there is no attention to show; {advice}"
    )


def head_and_tail(test: SavedScores, counts: ClassCounts, shots: str) -> list[int]:
    """The most confident correct test sample of a head class and of a tail class.

    Head is many-shot and tail few-shot; if one of them has no correct sample, medium is used instead.
    """
    groups = shot_groups(counts, shots)
    right = test.prediction == test.labels
    chosen: list[int] = []
    for order in (("many", "medium", "few"), ("few", "medium", "many")):
        add_surest(chosen, test, right, groups, order)
    return chosen


@torch.inference_mode()
def attention_maps(attention: Attention, f: torch.Tensor) -> list[tuple[Floats, Floats, Floats]]:
    """(‖SA(f)‖, MA(f), ‖MA(f) ⊗ SA(f)‖), each (h, w), of each feature map in f (B, C, h, w)."""
    attended = f if attention.self_attention is None else attention.self_attention(f)
    modulation = attention.cells(f)
    stacked = [attended.norm(dim=1), modulation[:, 0], (modulation * attended).norm(dim=1)]
    arrays = [part.double().cpu().numpy() for part in stacked]
    return list(zip(*arrays, strict=True))


def draw(data: Data) -> Figure:
    n = len(data.samples)
    figure = Figure(figsize=(7.6, 1.78 * n + 0.75), layout="constrained")
    grid = figure.subplots(n, 4, squeeze=False)
    inner = "self-attention ‖SA(f)‖" if data.kind == "modulated" else "feature ‖f‖"
    outer = "product ‖MA ⊗ SA‖" if data.kind == "modulated" else "product ‖MA ⊗ f‖"
    for row, sample in zip(grid, data.samples, strict=True):
        row[0].imshow(sample.image, interpolation="nearest")
        for axes, cells in zip(row[1:], (sample.self_attention, sample.modulation, sample.product), strict=True):
            overlay(axes, sample.image, cells)
        about = f"{sample.group}-shot, n = {sample.training_images:,}"
        row[0].set_ylabel(f"{wrapped(sample.class_name, 115, 8)}\n{about}", fontsize=8)
        for axes in row:
            bare(axes)
    for axes, title in zip(grid[0], ("image", inner, "modulation MA(f)", outer), strict=True):
        axes.set_title(title, loc="center", fontsize=9)
    bar = figure.colorbar(
        SCALE,
        ax=grid,
        location="bottom",
        shrink=0.6,
        anchor=(1.0, 0.0),
        fraction=0.04,
        aspect=40,
        pad=0.02,
        extend="both",
    )
    bar.set_ticks(list(SCALE_TICKS), labels=list(SCALE_TICKS.values()), fontsize=8)
    bar.outline.set(edgecolor="#999999", linewidth=0.6)
    return figure


FIGURE = FigureSpec("4", "modulated attention over two images", rows, gather, draw)
