"""What a graph of runs will cost, from its dataset, as it is here or as it is published, and its networks."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from oltr_cli.data.feed.opening import OpenedDataset, open_dataset
from oltr_cli.data.inspect.published import PUBLISHED
from oltr_cli.detector import Detector, DetectorSetup, NetworkDetector
from oltr_cli.errors import DataProblem
from oltr_cli.planning.detectors import part_classes
from oltr_cli.planning.estimate import Estimator
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.sizes import DatasetSize, DetectorNeeds, Estimate, NetworkSize, Rate, SplitSize, seconds
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.home import data_home
from oltr_cli.runs.folder import Run


@dataclass(frozen=True)
class Known:
    """The dataset of a recipe: opened, or, if its folder is not here, only the size that is published."""

    size: DatasetSize
    opened: OpenedDataset | None


@dataclass(frozen=True)
class Costs:
    """The estimates of a graph in its order, with the rate of each run, where one is known.

    Attributes:
        free: bytes that are free where runs are saved.
        store: bytes of images that the pixel store still lacks, if the recipe has one.
    """

    estimates: list[Estimate]
    rates: list[Rate | None]
    free: int
    store: int = 0

    @property
    def seconds(self) -> list[float | None]:
        """Of each run; None where no rate is known."""
        return [seconds(e, rate) for e, rate in zip(self.estimates, self.rates, strict=True)]

    @property
    def more(self) -> int:
        """Bytes to be written, with what is needed while a checkpoint is written."""
        return self.store + sum(e.more for e in self.estimates) + max((e.passing for e in self.estimates), default=0)


def known_dataset(spec: DataSpec) -> Known:
    """The dataset of ``spec``, or its published size if nothing of it is here.

    Raises:
        DataProblem: it is here and something is wrong with it, or it is not here and no size of it is known.
    """
    try:
        dataset = open_dataset(spec)
    except DataProblem:
        published = PUBLISHED.get(spec.name)
        here = Path(spec.root).expanduser() if spec.root else data_home() / spec.name
        if published is None or published.letters is None or here.exists() or spec.lists_digest is not None:
            raise
        splits = {
            name: SplitSize(count, published.letters) for name, count in (published.images | published.further).items()
        }
        return Known(DatasetSize(published.classes, splits), None)
    splits = {
        name: SplitSize(len(split), max(map(len, split.names), default=0)) for name, split in dataset.splits.items()
    }
    return Known(DatasetSize(len(dataset.class_names), splits), dataset)


def costs(
    planned: Sequence[Planned], known: Known, rate: Callable[[Planned, Estimate], Rate | None], root: Path
) -> Costs:
    """What is left of each of the runs ``planned``, of which ancestors come first.

    Args:
        rate: of a run that is not finished; a detector runs the network of the run under it.
        root: folder of runs.
    Raises:
        UsageProblem, DataProblem: what training would find wrong with a recipe and its network.
    """

    @lru_cache
    def of_hash(key: str) -> NetworkSize:
        from oltr_cli.training.footprint import network_size

        return network_size(by_hash[key], known.size.classes)

    by_hash = {p.link.hash: p for p in planned}
    estimator = Estimator(known.size, lambda p: of_hash(p.link.hash), lambda p: _needs(p, known.size.classes))
    estimates = [estimator.of(p, _steps_done(p, known.size)) for p in planned]
    by_run = {p.run: p for p in planned}
    rates = [
        None if e.status == "done" else rate(by_run[p.parent] if p.is_detector and p.parent else p, e)
        for p, e in zip(planned, estimates, strict=True)
    ]
    left = any(e.status != "done" for e in estimates)
    return Costs(estimates, rates, _free(root), _store(planned[-1].link.recipe.data, known) if left else 0)


def _store(spec: DataSpec, known: Known) -> int:
    """Bytes of the images that the pixel store lacks; of a dataset that is not here, as if all had 4:3."""
    if spec.store_side is None:
        return 0
    if known.opened is None:
        return 4 * spec.store_side**2 * known.size.images(*known.size.splits)
    from oltr_cli.data.store.build import still_needed
    from oltr_cli.data.store.split import store_of  # imports torch

    return still_needed(*store_of(known.opened))[1]


def _needs(p: Planned, classes: int) -> DetectorNeeds:
    assert issubclass(p.cls, Detector)
    params, cls = p.link.recipe.detector, p.cls
    assert params is not None
    fits = [cls, *part_classes(cls, params)]
    candidates = 0
    if issubclass(cls, NetworkDetector):
        candidates = len(cls(DetectorSetup((1,) * classes, p.link.recipe.data.std, params)).candidates())
    train = any(one.fit is not Detector.fit or one.needs_head for one in fits)
    return DetectorNeeds(train, issubclass(cls, NetworkDetector), candidates)


def _steps_done(p: Planned, data: DatasetSize) -> int:
    """Steps in the last checkpoint of an unfinished run; what it holds besides is not read."""
    from oltr_cli.data.feed.sampling import steps_per_epoch

    found = _progress(p.run) if p.run.path.is_dir() and not p.is_detector else None
    if found is None:
        return 0
    epoch, step = found
    return epoch * steps_per_epoch(data.images("train"), p.link.recipe.train.batch_size) + step


def _progress(run: Run) -> tuple[int, int] | None:
    """Finished epochs and steps after them; None without a checkpoint that can be read."""
    from oltr_cli.runs.checkpoint import LAST, previous  # imports torch

    last = run.path / LAST
    for path in (last, previous(last)):
        if not path.exists():
            continue
        import torch

        try:
            progress = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["progress"]
            return int(progress["epoch"]), int(progress["step"])
        except Exception:  # damaged: training says so, and uses the one before it
            continue
    return None


def _free(root: Path) -> int:
    """Bytes that are free in a folder that need not exist yet."""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
