"""Finished runs, from their files alone: what is still missing of one is made, and MLflow's store is filled again."""

import importlib
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError, UsageProblem, first_line
from oltr_cli.planning.resolve import flatten
from oltr_cli.recipe.files import read_toml
from oltr_cli.runs.folder import Run, finished_runs
from oltr_cli.runs.history import read_history
from oltr_cli.runs.result import RESULT, RunResult


def facts(run: Run, recipe: dict[str, Any], digest: str | None, images: int) -> tuple[dict, dict, dict]:
    """Params, tags and dataset of a run, as ``Tracker.start`` takes them."""
    tags = {"method": run.method, "dataset": run.dataset, "hash": run.hash, "seed": str(run.seed)}
    return flatten(recipe), tags, {"name": run.dataset, "digest": digest or "", "num_train": images}


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The metrics in a row of an epoch."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name != "epoch"}


def draw_plots(run: Run, display: Display) -> list[Path]:
    """The run's plots; one that cannot be drawn costs a warning, not the run."""
    from oltr_cli.drawing.run_plots import save_run_plots

    try:
        return save_run_plots(run.path)
    except (OltrError, OSError, ValueError) as error:
        display.warn(f"plots of {run.name} were not drawn: {error}")
        return []


def remove_stray_files(run: Run) -> None:
    """Remove what a killed process left under temporary names; the caller holds the run's lock."""
    for path in _stray_files(run):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def complete(run: Run, result: RunResult, display: Display, track: bool) -> None:
    """Make what a process that was stopped after result.json left out: plots, the end of its MLflow run.

    Costs a few looks at the folder where nothing is missing. A run that another process holds, or that is not ours to
    write to, is left alone.
    """
    from oltr_cli.tracking.tracker import Tracker, left_open

    plots, open_ = _missing_plots(run), track and left_open(run)
    if not (plots or open_ or _stray_files(run)):
        return
    try:
        lock = run.lock()
        lock.acquire(timeout=0)
    except (Timeout, OltrError):
        return
    try:
        remove_stray_files(run)
        if plots:
            display.say(f"[dim]drawing the plots that {run.name} still lacks[/]")
            draw_plots(run, display)
        if open_:
            display.say(f"[dim]completing {run.name} in MLflow[/]")
            began, epochs, ended = _times(run, result)
            about = facts(run, read_toml(run.path / "recipe.toml"), result.data_digest, sum(result.class_counts))
            tracker = Tracker.start(run, *about, warn=display.warn, began=began)
            for row, milliseconds in epochs:
                tracker.epoch(numbers(row), row["epoch"], milliseconds)
            tracker.finish("FINISHED", result.metrics, _plots(run), ended=ended)
    except OltrError as error:
        display.warn(f"{run.name} was not completed: {error}")
    finally:
        lock.release()


def rebuild_store(root: Path, display: Display) -> tuple[int, Path | None]:
    """Fill a fresh SQLite store with all finished runs in ``root``, and set the one before it aside.

    Any other store, such as a server, gets those that it lacks.

    Returns:
        the number of runs, and where the earlier store is now.
    Raises:
        UsageProblem: there is no finished run.
        OltrError: MLflow is missing or fails, or the server does not answer.
    """
    from oltr_cli.base.secrets import without_secrets, without_secrets_in
    from oltr_cli.tracking.mlflow_run import is_there
    from oltr_cli.tracking.quiet import keep_quiet
    from oltr_cli.tracking.store import ensure_store, local_file, set_aside, store_lock
    from oltr_cli.tracking.tracker import tracking_uri
    from oltr_cli.tracking.words import gist

    file = local_file(uri := tracking_uri(root))
    damaged: dict[Run, str] = {}
    runs = [pair for of_method in finished_runs(root=root, damaged=damaged).values() for pair in of_method]
    for line in damaged.values():
        display.warn(line)
    if not runs:
        raise UsageProblem(f"{root} has no finished runs to fill a store with; make one: oltr run dme")
    keep_quiet(patience=60)  # nothing else waits for it, and a server that has just started is slow
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError as error:
        raise OltrError(f"MLflow cannot be imported ({first_line(error)}): pip install mlflow") from None
    aside = None
    if file is not None:
        with store_lock(root):
            aside = set_aside(file, "old")
            ensure_store(mlflow, file)
    else:
        try:
            runs = [(run, result) for run, result in runs if not is_there(mlflow, run, uri)]
        except Exception as error:  # MLflow raises what its stores raise
            said = without_secrets_in(gist(error))
            raise OltrError(
                f"{without_secrets(uri)}: cannot be filled ({said}); the runs are where they were"
            ) from None
    mirrored = 0
    with display.bar("filling the store", len(runs), "runs") as bar:
        for run, result in runs:
            try:
                _mirror(mlflow, run, result, uri)
                mirrored += 1
            except Exception as error:  # MLflow raises what its stores raise
                display.warn(f"{run.name} is not in the store: {without_secrets_in(gist(error))}")
            bar.advance(1)
    return mirrored, aside


def _mirror(mlflow: Any, run: Run, result: RunResult, uri: str) -> None:
    from oltr_cli.tracking.mlflow_run import Description, Epoch, Finish, Mirror, finite

    began, epochs, ended = _times(run, result)
    about = facts(run, read_toml(run.path / "recipe.toml"), result.data_digest, sum(result.class_counts))
    mirror = Mirror(mlflow, Description(run, uri, *about, began=began))
    mirror.log_epochs([Epoch(row["epoch"], at, finite(numbers(row))) for row, at in epochs])
    mirror.finish(Finish("FINISHED", ended, finite(result.metrics), tuple(_plots(run))))


def _times(run: Run, result: RunResult) -> tuple[int, list[tuple[dict[str, Any], int]], int]:
    """When the run began, each epoch's row with when it ended, and when the run ended, in milliseconds since 1970.

    result.json is written at the end, and each row says how long its epoch took.
    """
    ended = int(1000 * (run.path / RESULT).stat().st_mtime)
    history = read_history(run.path / "metrics.jsonl")
    left = sum((row.get("seconds") or 0.0) for row in history)
    began = ended - int(1000 * (left or result.seconds or 0.0))
    epochs = []
    for row in history:
        left -= row.get("seconds") or 0.0
        epochs.append((row, ended - int(1000 * left)))
    return began, epochs, ended


def _stray_files(run: Run) -> list[Path]:
    return [*run.path.glob(".*.tmp"), *run.path.glob("*/.*.tmp"), *run.path.glob("*.new.pt")]


def _plots(run: Run) -> list[Path]:
    return sorted((run.path / "plots").glob("*.png"))


def _missing_plots(run: Run) -> bool:
    """Whether a plot is missing whose input is there; see ``oltr_cli.drawing.run_plots``."""
    test, open_ = run.scores("test").exists(), run.scores("open").exists()
    try:
        epochs = (run.path / "metrics.jsonl").stat().st_size > 0
    except OSError:
        epochs = False
    # Whether reliability can be drawn takes a look into the scores; it is drawn before confidence, which is missed.
    wanted = {"accuracy-by-class-frequency": test, "confidence": test}
    wanted |= {"threshold": test and open_, "training": epochs}
    wanted |= dict.fromkeys(("group-confusion", "rejection"), test and open_)
    return any(there and not (run.path / "plots" / f"{name}.png").exists() for name, there in wanted.items())
