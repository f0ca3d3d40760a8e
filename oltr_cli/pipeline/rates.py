"""Images per second: stated, measured by finished runs, or by a probe of 20 steps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from oltr_cli.base.display import Display
from oltr_cli.data.feed.opening import OpenedDataset
from oltr_cli.data.store.build import still_needed
from oltr_cli.data.store.split import from_store, store_of
from oltr_cli.errors import OltrError
from oltr_cli.pipeline.estimates import Known
from oltr_cli.planning.described import described
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.sizes import Estimate, Rate, feeds
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.runs.history import read_history

RateOf = Callable[[Planned, Estimate], Rate | None]
SCORING = 3  # images scored in the time in which one is trained on
OF_BACKBONE = ("name", "stem", "width", "fc")  # keys that its speed depends on


def stated_rate(rate: float) -> RateOf:
    """``rate`` images per second of training, and three times as many of scoring.

    A training step computes about three times what scoring does: its backward pass is twice its forward pass. Steps on
    saved features read no image and are not counted.
    """

    def of(p: Planned, estimate: Estimate) -> Rate:
        said = (
            f"{rate:g} images/s of training as stated, {SCORING * rate:g} images/s of scoring ({SCORING} times as many)"
        )
        return Rate(rate, SCORING * rate, said, heads=False)

    return of


def measured_rates(device: str | None) -> RateOf:
    """What finished runs measured with the same backbone and image size on such a device as this one."""
    import torch

    from oltr_cli.base.machine import device_name, precision, ready_device

    ready = ready_device(device)
    here: dict[str, Any] = {"device": device_name(ready), "precision": precision(ready)}
    here |= {"threads": torch.get_num_threads(), "processes": 1}
    runs = [run for pairs in finished_runs().values() for run, _ in pairs]
    measured = [(run, *facts) for run in runs if (facts := _measured(run, here)) is not None]

    def of(p: Planned, estimate: Estimate) -> Rate | None:
        key = _speed_key(p.link.recipe.model_dump(mode="json"))
        same = [(run, rate) for run, its_key, rate in measured if its_key == key]
        images = [(run, rate) for run, rate in same if rate.source == "images"]
        kind = [(run, rate) for run, rate in same if rate.source == estimate.feed]
        own = (p.run.dataset, p.run.method)
        if estimate.feed != "images":
            kind = [(run, rate) for run, rate in kind if (run.dataset, run.method) == own]
        train, score = _nearest(kind, own), _nearest([pair for pair in images if pair[1].score], own)
        if train is None and score is None:
            return None
        names = dict.fromkeys(run.name for run, _ in filter(None, (train, score)))
        return Rate(train and train[1].train, score and score[1].score, f"measured by {' and '.join(names)}")

    return of


def _nearest(found: list[tuple[Run, Rate]], own: tuple[str, str]) -> tuple[Run, Rate] | None:
    """A run of this method, else of this dataset, else any; the latest of several."""

    def nearness(pair: tuple[Run, Rate]) -> tuple[bool, bool, float]:
        run = pair[0]
        return run.method == own[1], run.dataset == own[0], run.changed()

    return max(found, key=nearness, default=None)


def _measured(run: Run, here: dict[str, Any]) -> tuple[dict[str, Any], Rate] | None:
    """What its speed depends on, and the median rates of its epochs; the source is the kind of feed."""
    try:
        environment = run.environment()
        recipe = recorded_recipe(run.path)
        on_features = described(run.method).on_features
    except OltrError:
        return None
    rows = read_history(run.path / "metrics.jsonl")
    if not rows or environment.get("compiled") or any(environment.get(key) != value for key, value in here.items()):
        return None
    train = recipe.get("train", {})
    feed = feeds(on_features, bool(train.get("freeze_backbone")))
    rate = float(np.median([row["images_per_second"] for row in rows]))
    return _speed_key(recipe), Rate(rate, _scoring(run, rows) if feed == "images" else None, feed)


def _scoring(run: Run, rows: list[dict[str, Any]]) -> float | None:
    """Images per second of validation: what an epoch took besides its steps."""
    result = run.result()
    if result is None:
        return None
    recipe = recorded_recipe(run.path)
    batch = int(recipe["train"]["batch_size"])
    steps = max(1, sum(result.class_counts) // batch)
    took = [row["seconds"] - steps * batch / row["images_per_second"] for row in rows]
    try:
        with np.load(run.scores("val"), allow_pickle=False) as scores:
            images = len(scores["labels"])
    except (OSError, ValueError, KeyError):
        return None
    return images / float(np.median(took)) if float(np.median(took)) > 0 else None


def _speed_key(recipe: dict[str, Any]) -> dict[str, Any]:
    backbone = recipe.get("backbone", {})
    return {key: backbone.get(key) for key in OF_BACKBONE} | {"image_size": recipe.get("data", {}).get("image_size")}


def probed_rates(known: Known, spec: DataSpec, device: str | None, workers: int | None, display: Display) -> RateOf:
    """Each kind of run is probed once, whatever its seed; see ``oltr_cli.training.probe``.

    Args:
        spec: of a dataset that is not here, in whose place random images are used.
    """
    from oltr_cli.base.machine import default_workers, make_accelerator
    from oltr_cli.training.probe import noise, probe

    accelerator = make_accelerator(device)
    loading = default_workers() if workers is None else workers
    dataset = noise(spec, known.size) if known.opened is None else _with_store(known.opened, display)
    probed: dict[tuple[str, bool], Rate] = {}

    def of(p: Planned, estimate: Estimate) -> Rate | None:
        if not (estimate.steps or estimate.scored):
            return None
        key = p.link.hash, estimate.scored > 0
        if key not in probed:
            display.say(f"[dim]probing {p.run.dataset}/{p.run.method}[/]")
            probed[key] = probe(p, estimate, dataset, accelerator, loading)
        return probed[key]

    return of


def _with_store(dataset: OpenedDataset, display: Display) -> OpenedDataset:
    """The dataset with its images in a store, if that is complete; a probe does not fill one."""
    if dataset.spec.store_side is None:
        return dataset
    if still_needed(*store_of(dataset))[0]:
        display.warn("the pixel store is not complete, so images are decoded from their files, which takes longer")
        return dataset
    return from_store(dataset, display)
