"""What runs that are still to be made will cost: steps, images, disk and, at a rate, time. Arithmetic only, no torch.

Checkpoints are last.pt and the one before it (weights, optimizer, moving average) and best.pt (weights). Scores are one
row per image. What several runs share, such as the scores of the training set of the run that they start from, is
counted once, with the first run that needs it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from oltr_cli.data.feed.sampling import steps_per_epoch
from oltr_cli.data.store.features import find_features
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.sizes import DatasetSize, DetectorNeeds, Estimate, NetworkSize, feeds
from oltr_cli.planning.which_run import parent_of, trains_backbone
from oltr_cli.protocol.open_sets import OUTLIERS
from oltr_cli.runs.folder import Run
from oltr_cli.runs.scores import LARGE_LOGITS

PER_TENSOR = 340  # bytes that a tensor takes in a checkpoint besides its values
PER_ARRAY = 250  # likewise an array in an .npz file
PER_EPOCH = 400  # of the history in last.pt
PLOTS, TRAINING_PLOT = 430_000, 100_000  # bytes of a run's pictures and small files, and of the one of its training
PASSES = 3  # of a detector that runs the network: forward, back to the image, and forward
EMBEDDED = ("probe", "distractors", "train")  # for identification


class Estimator:
    """Estimates runs of one dataset, ancestors first; what an earlier run makes is there for the later ones."""

    def __init__(
        self,
        dataset: DatasetSize,
        network: Callable[[Planned], NetworkSize],
        detector: Callable[[Planned], DetectorNeeds],
    ) -> None:
        self.dataset, self.network, self.detector = dataset, network, detector
        self._planned: dict[Run, Planned] = {}
        self._made: set[object] = set()  # shared files that an earlier estimate has counted

    def of(self, p: Planned, steps_done: int = 0) -> Estimate:
        """What is left of ``p``, of which ``steps_done`` steps are in its last checkpoint."""
        self._planned[p.run] = p
        status = p.run.status()
        if status == "done":
            return Estimate(p.run, status)
        return self._detector(p, status) if p.is_detector else self._method(p, status, steps_done)

    def _method(self, p: Planned, status: str, steps_done: int) -> Estimate:
        size, train, data = self.network(p), p.link.recipe.train, self.dataset
        per_epoch = steps_per_epoch(data.images("train"), train.batch_size)
        steps = max(0, p.epochs * per_epoch - steps_done)
        epochs = -(-steps // per_epoch)
        splits = data.scored()
        feed = feeds(p.about.on_features, train.freeze_backbone)
        scored = data.images(*splits) if feed == "images" or (feed == "frozen" and size.maps) else 0
        disk = {"checkpoints": _checkpoints(p, size), "scores": self._scores(splits, size.features)}
        if feed == "images":
            looks = (size.looks_first and not steps_done) + size.looks_again * epochs
            scored += epochs * data.images("val") + looks * data.images("train")
        elif feed == "frozen":
            bytes_, images = self._frozen(p, size)
            disk["frozen features"] = bytes_
            scored += images
        else:
            assert p.parent is not None
            bytes_, images = self._training_scores(p.parent)
            disk["training scores"] = bytes_
            scored += images
        if "probe" in data.splits:
            embedded = [name for name in EMBEDDED if name in data.splits]
            disk["embeddings"] = sum(_floats(data.images(name), size.features) for name in embedded)
            scored += data.images(*embedded)
        disk["plots"] = PLOTS + (TRAINING_PLOT if p.epochs else 0)
        passing = _last(p, size) if p.epochs else _stored(size.best)
        return Estimate(
            *(p.run, status, feed, steps, steps * self._rows(p), scored),
            {kind: size for kind, size in disk.items() if size},
            _on_disk(p.run),
            passing,
        )

    def _detector(self, p: Planned, status: str) -> Estimate:
        assert p.parent is not None
        needs, data = self.detector(p), self.dataset
        splits = data.scored()
        disk, scored = {"scores": self._scores(splits, None)}, 0
        if needs.network:
            tried = [name for name in ("val", "open_val") if name in data.splits]
            scored += PASSES * (data.images(*splits) + needs.candidates * data.images(*tried))
        if needs.train:
            disk["training scores"], images = self._training_scores(p.parent)
            scored += images
        disk["plots"] = PLOTS
        return Estimate(p.run, status, scored=scored, disk=disk, there=_on_disk(p.run))

    def _rows(self, p: Planned) -> int:
        """Images in a batch, outliers included."""
        train, images = p.link.recipe.train, self.dataset.images("train")
        known = train.batch_size if train.sampler != "instance" else min(train.batch_size, images)
        outliers = p.about.uses_outliers and OUTLIERS in self.dataset.splits
        return known + ((train.outlier_batch_size or known) if outliers else 0)

    def _scores(self, splits: list[str], features: int | None) -> int:
        """Bytes of the scores of some splits; without logits and features for a detector (``features`` is None)."""
        total = 0
        for name in splits:
            split = self.dataset.splits[name]
            total += split.images * (20 + 4 * split.letters) + (4 if features is None else 6) * PER_ARRAY
            if features is not None:
                total += _floats(split.images, self.dataset.classes) + _floats(split.images, features)
        return total

    def _training_scores(self, run: Run) -> tuple[int, int]:
        """Bytes, and images that the network has to see, of the scores of the training set of ``run``."""
        if run in self._made or run.scores("train").exists() or run not in self._planned:
            return 0, 0
        self._made.add(run)
        p = self._planned[run]
        size, images = self.network(p), self.dataset.images("train")
        feed_images, feed_bytes = images, 0
        if p.about.on_features:
            feed_images = 0  # from the scores that it was trained on
        elif p.link.recipe.train.freeze_backbone and not size.maps:
            feed_bytes, feed_images = self._frozen(p, size)
        return self._scores(["train"], size.features) + feed_bytes, feed_images

    def _frozen(self, p: Planned, size: NetworkSize) -> tuple[int, int]:
        """Bytes, and images that the network has to see, of a frozen backbone's features that are not kept yet."""
        home, names = self._home(p), ["train", "val"]
        if not size.maps:
            names += [name for name in self.dataset.scored() if name != "val"]
        of, half = p.link.recipe.backbone, p.link.recipe.train.frozen_precision == "float16"
        key = (home or (of.name, of.weights), size.maps, half)
        there = sorted(_kept_files(home, p))
        bytes_ = images = 0
        for name in names:
            expected = self.dataset.images(name) * size.kept * (2 if half else 4) + 128
            if (key, name) in self._made or expected in there:
                continue
            self._made.add((key, name))
            bytes_ += expected
            images += self.dataset.images(name)
        return bytes_, images

    def _home(self, p: Planned) -> Run | None:
        """The run that trained the backbone which ``p`` keeps frozen; None if that has the weights of a file."""
        run = p.parent
        while run is not None:
            above = self._planned.get(run)
            if above is None:
                if trains_backbone(run) is not False:
                    return run
                run = parent_of(run)
            elif not (above.about.on_features or above.link.recipe.train.freeze_backbone):
                return run
            else:
                run = above.parent
        return None


def _checkpoints(p: Planned, size: NetworkSize) -> int:
    return _stored(size.best) + (2 * _last(p, size) if p.epochs else 0)


def _last(p: Planned, size: NetworkSize) -> int:
    """Bytes of last.pt: the weights, what the optimizer keeps of each parameter, and the moving average."""
    train = p.link.recipe.train
    adam = train.optimizer == "adamw"
    copies = 2 if adam else 1 if train.momentum else 0
    tensors = size.trained[1]
    total = _stored(size.last) + copies * _stored(size.trained)
    if adam:
        total += tensors * (4 + PER_TENSOR)  # its counts of steps
    if train.ema is not None:
        total += _stored(size.last)
    return total + p.epochs * PER_EPOCH


def _stored(tensors: tuple[int, int]) -> int:
    size, count = tensors
    return size + count * PER_TENSOR


def _floats(rows: int, columns: int) -> int:
    """Bytes of an array of saved scores, float16 if it is large."""
    return rows * columns * (2 if rows * columns >= LARGE_LOGITS else 4)


def _on_disk(run: Run) -> int:
    """Bytes of an unfinished run that stay or are replaced."""
    found = [run.path / name for name in ("last.pt", "last.prev.pt", "best.pt")]
    return sum(map(_bytes, [*found, *(run.path / "scores").glob("*.npz")]))


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _kept_files(home: Run | None, p: Planned) -> Iterator[int]:
    """Sizes of the files of features that may be those of ``p``."""
    if home is not None:
        yield from map(_bytes, home.frozen.glob("*/features.npy"))
        return
    of = p.link.recipe.backbone
    for folder in find_features():
        if (folder.dataset, folder.backbone, folder.weights) == (p.run.dataset, of.name, of.weights):
            yield from map(_bytes, folder.path.glob("*/features.npy"))
