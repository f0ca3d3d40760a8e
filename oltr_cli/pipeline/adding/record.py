"""The files of a run with one more class besides its network and scores, and τ by the rules of the run of before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tomli_w
from accelerate import Accelerator

from oltr_cli.base.digests import toml_with_digest
from oltr_cli.base.display import Display
from oltr_cli.base.files import write_json, write_text
from oltr_cli.base.machine import describe
from oltr_cli.pipeline.tracked import draw_plots, facts, remove_stray_files
from oltr_cli.planning.registry import files_of
from oltr_cli.protocol.best_threshold import FMeasureCurve, f_measure_at
from oltr_cli.protocol.thresholds import ThresholdRule, choose
from oltr_cli.recipe.specs import Recipe
from oltr_cli.runs.choices import TunedThreshold
from oltr_cli.runs.folder import ENVIRONMENT, Run
from oltr_cli.runs.made_with import ADDED_FILES
from oltr_cli.runs.remove import remove_folder
from oltr_cli.runs.result import RunResult
from oltr_cli.runs.scores import SavedScores
from oltr_cli.tracking.tracker import Tracker


@contextmanager
def held(run: Run, display: Display) -> Iterator[RunResult | None]:
    """Hold the run's lock, and give its result if it is finished; of one that fails early no folder is left."""
    waiting = f"another process is working on {run.name}; waiting for it (Ctrl-C stops only the waiting)"
    began = False  # whoever is stopped while waiting leaves the folder to the other process
    try:
        with run.lock().held(lambda: display.warn(waiting)):
            began = True
            result = run.result()
            if result is None:
                remove_stray_files(run)
            else:
                display.say(f"[dim]{run.name} is finished[/]")
            yield result
    finally:
        if began and not (run.path / "recipe.toml").exists():
            remove_folder(run.path)  # of what is there nothing can be used


def write_recipe(run: Run, recipe: Recipe, parent: Run, accelerator: Accelerator, workers: int) -> None:
    """recipe.toml and environment.json, with which the folder is a run."""
    write_text(run.path / "recipe.toml", toml_with_digest(tomli_w.dumps(recipe.as_toml())))
    made_on: dict[str, Any] = {**describe(accelerator, workers), "compiled": False, "starts_from": parent.name}
    write_json(run.path / ENVIRONMENT, {**made_on, ADDED_FILES: files_of(run.method, recipe.backbone.name)})


def finish(run: Run, recipe: Recipe, result: RunResult, display: Display, track: bool) -> None:
    """Write result.json last: with it the run is finished. Then plots, and MLflow."""
    about = facts(run, recipe.as_toml(), result.data_digest, sum(result.class_counts))
    tracker = Tracker.start(run, *about, enabled=track, warn=display.warn)
    result.write(run.path)
    tracker.finish("FINISHED", result.metrics, draw_plots(run, display))


def tuned_again(
    before: TunedThreshold | None, counts: list[int], shots: str, val: SavedScores | None, open_val: SavedScores | None
) -> TunedThreshold | None:
    """τ by the rule of ``before`` from other scores; without a study, which only shows what a search finds."""
    if before is None:
        return None
    chosen = choose(ThresholdRule.parse(before.rule), counts, shots, val=val, open_val=open_val)
    value = None
    if val is not None and open_val is not None and len(val) and len(open_val):
        by_class = chosen.by_class is not None
        value = f_measure_at(val, open_val, chosen.tau) if by_class else FMeasureCurve(val, open_val).at(chosen.value)
    return TunedThreshold(
        rule=before.rule, value=chosen.value, f_measure_val=value, by_class=chosen.by_class, pooled=chosen.pooled
    )
