"""A run of a detector, again on the run with one more class: fitted to its scores, with τ by the same rule."""

from accelerate import Accelerator

from oltr_cli.base.display import Display
from oltr_cli.errors import UsageProblem
from oltr_cli.inference.rebuilding import recipe_of
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.pipeline.adding.record import finish, held, tuned_again, write_recipe
from oltr_cli.pipeline.rescoring import Rescoring
from oltr_cli.pipeline.result import evaluated
from oltr_cli.pipeline.tracked import complete
from oltr_cli.planning.registry import PLUS, load_detector, load_method
from oltr_cli.planning.run_hash import run_hash
from oltr_cli.protocol.thresholds import ThresholdRule
from oltr_cli.runs.choices import read_tuned
from oltr_cli.runs.folder import Run
from oltr_cli.runs.result import RunResult, read_result
from oltr_cli.runs.scores import NEW_CLASS


def check_refits(before: Recogniser) -> None:
    """Check that the detector of ``before`` can be fitted to saved scores.

    Raises:
        UsageProblem: it needs the network and the dataset's images.
    """
    from oltr_cli.detector import NetworkDetector

    name = before.run.method.partition(PLUS)[2]
    if issubclass(load_detector(name), NetworkDetector):
        raise UsageProblem(
            f"{before.run.name}: {name} needs the images of every split; add the class to {before.base.name}"
        )


def make_on_top(
    before: Recogniser,
    base: Run,
    accelerator: Accelerator,
    display: Display,
    *,
    workers: int,
    track: bool,
) -> RunResult:
    """The run of the detector of ``before``, a run of a detector, on ``base``, the run with the class."""
    recipe = recipe_of(base.path / "recipe.toml", load_method(base.method), None, None)
    recipe = recipe.model_copy(update={"method": before.run.method, "detector": before.recipe.detector})
    made_of = run_hash(recipe, f"{base.hash}-s{base.seed}")
    run = Run(base.root, base.dataset, before.run.method, made_of, base.seed)
    with held(run, display) as result:
        if result is None:
            result = _made(before, base, run)
            write_recipe(run, recipe, base, accelerator, workers)
            finish(run, recipe, result, display, track)
            return result
    complete(run, result, display, track)
    return result


def _made(before: Recogniser, base: Run, run: Run) -> RunResult:
    """Its scores and its tuned τ are saved; the result is not."""
    old, under = before.result, read_result(base.path)
    assert old.detector is not None
    assert under.added_class is not None
    on = Rescoring(base, under)
    detector = on.fitted(old.detector.name, old.detector.params)
    splits = [path.stem for path in sorted((before.run.path / "scores").glob("*.npz"))]
    scores = {split: on.scores(detector, split) for split in dict.fromkeys((*splits, NEW_CLASS))}
    for split, one in scores.items():
        one.save(run.scores(split))
    main, others = evaluated(scores, under.class_counts, ThresholdRule.parse(old.threshold.rule))
    again = (under.class_counts, old.shots, scores.get("val"), scores.get("open_val"))
    if (tuned := tuned_again(read_tuned(before.run.path), *again)) is not None:
        tuned.write(run.path)
    # Which of the new images are accepted was asked of the confidence of the run under it.
    added = under.added_class.model_copy(
        update=dict.fromkeys(("new_accepted", "new_recognised", "new_accepted_before"))
    )
    return under.model_copy(
        update={
            **run.identity,
            "threshold": main.threshold,
            "metrics": main.metrics,
            "other_thresholds": others,
            "best_validation": None,
            "starts_from": base.name,
            "detector": old.detector.model_copy(update={"report": detector.report()}),
            "added_class": added,
        }
    )
