"""Scores of the training set of a finished run, from its images and its folder alone.

``oltr run`` makes them where a detector or a head on features needs them. Here they are made for a run that was found
by its name, whatever recipe and settings it was made with.
"""

from oltr_cli.base.display import Display
from oltr_cli.base.machine import make_accelerator
from oltr_cli.data.feed.opening import open_dataset, other_lists
from oltr_cli.data.store.split import from_store
from oltr_cli.errors import DataProblem
from oltr_cli.inference.rebuilding import network_of, recipe_of
from oltr_cli.pipeline.added_scores import joined, rescored
from oltr_cli.pipeline.networks import NetworkScores
from oltr_cli.pipeline.problems import named_shortages
from oltr_cli.planning.described import described
from oltr_cli.planning.plan import Planned
from oltr_cli.planning.registry import load_method
from oltr_cli.planning.resolve import Link
from oltr_cli.runs.folder import Run, run_from_path
from oltr_cli.runs.result import RunResult, read_result
from oltr_cli.runs.scores import NEW_CLASS, SavedScores


def score_training_set(run: Run, display: Display, *, device: str | None = None, workers: int | None = None) -> None:
    """Save the scores of the training set of a finished run of a trained method, if they are not there.

    Only the training list and its images are read, and nothing is trained.

    Args:
        device, workers: as ``make_runs`` takes them.

    Raises:
        DataProblem: the images or lists are missing, or the lists have changed since; a file of the run is damaged.
        UsageProblem: the method was added, and its file is not given.
    """
    if run.scores("train").exists():
        return
    result = read_result(run.path)
    if result.added_class is not None:
        _of_extended(run, result, display, device=device, workers=workers)
        return
    planned = _chain(run)
    data = planned[-1].link.recipe.data
    if (other := other_lists(data, result.data_digest)) is not None:
        raise DataProblem(f"the lists in {other[0]} have changed since {run.name}, so its training set is not known")
    with display.bar("opening the dataset", 1) as bar:
        dataset = open_dataset(data, bar.reached, only=("train",))
    dataset = from_store(dataset, display)
    display.say(f"{run.name}: scoring its training set, to which detectors are fitted")
    networks = NetworkScores(planned, dataset, make_accelerator(device), display, workers)
    with named_shortages():
        networks.training(planned[-1])


def _of_extended(
    run: Run, result: RunResult, display: Display, *, device: str | None = None, workers: int | None = None
) -> None:
    """Those of a run that a class was added to: of the run that it starts from, whose scores are made if they are not
    there, scored again, and of the class's images."""
    parent = run_from_path(run.root / str(result.starts_from))
    if parent is None or parent.result() is None:
        raise DataProblem(f"{run.name} starts from {result.starts_from}, which is gone: its training set is not known")
    score_training_set(parent, display, device=device, workers=workers)
    method = load_method(run.method)
    recipe = recipe_of(run.path / "recipe.toml", method, None, None)
    network = network_of(run, method, recipe, result.class_counts).eval()
    new = SavedScores.load(run.scores(NEW_CLASS))
    with run.lock():
        joined(rescored(network, parent, "train"), new).save(run.scores("train"))


def _chain(run: Run) -> list[Planned]:
    """A finished run as its folder describes it; before a method on features, the run that has the features."""
    name, about = read_result(run.path).starts_from, described(run.method)
    parent = None if name is None else run_from_path(run.root / name)
    before = _chain(parent) if parent is not None and about.on_features else []
    recipe = recipe_of(run.path / "recipe.toml", load_method(run.method), None, None)
    return [*before, Planned(run, Link(recipe, run.hash), about, parent)]
