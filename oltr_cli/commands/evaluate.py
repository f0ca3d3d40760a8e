"""``oltr evaluate``: every metric, from saved scores."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.options import (
    ClassWeight,
    Coverage,
    Json,
    MethodsFrom,
    OwnConfidence,
    SetScore,
    Shots,
    ThresholdOption,
    set_rule,
)
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.protocol.evaluate import Evaluation
    from oltr_cli.protocol.label_sets import LabelSets, SetRule
    from oltr_cli.protocol.set_coverage import SetCoverage


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE.npz",
            autocompletion=complete.runs,
            help="A run (its folder, its name or a part of it), or a file of scores: labels with −1 = open, and "
            "logits, or prediction and confidence.",
            show_default=False,
        ),
    ],
    class_counts: Annotated[
        Path | None,
        typer.Option(
            help="For a file: training images of each class. One count per line, 'label count' per line, a training "
            "list, a JSON list or .npy.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    threshold: ThresholdOption = None,
    shots: Shots = "paper",
    val: Annotated[
        Path | None,
        typer.Option(
            help="For a file: validation scores of the same form, for id_quantile, val_open and --coverage.",
            metavar="FILE.npz",
            show_default=False,
        ),
    ] = None,
    own_confidence: OwnConfidence = False,
    coverage: Coverage = None,
    set_score: SetScore = None,
    class_weight: ClassWeight = None,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Compute every metric from the saved scores of a run, or from any file of scores.

    The threshold τ is the run's own by default; for a file it is 0.1. If oltr tune detector chose a detector for the
    run, confidence and τ are that detector's; --own-confidence takes the run's own.

    ```
    oltr evaluate glyphs-lt/dme                         a run, by any part of its name
    oltr evaluate glyphs-lt/dme --threshold val_open    choose τ by another rule
    oltr evaluate glyphs-lt/dme+vim --threshold -27.3   set τ yourself
    oltr evaluate glyphs-lt/dme --coverage 0.9          what label sets hold, by shot group
    oltr evaluate scores.npz --class-counts counts.txt  scores from elsewhere
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.errors import DataProblem, UsageProblem
    from oltr_cli.protocol.evaluate import evaluate_file, evaluate_run
    from oltr_cli.protocol.screen import table
    from oltr_cli.protocol.shots import shot_groups
    from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule
    from oltr_cli.runs.choices import read_chosen_detector

    rule = ThresholdRule.parse(threshold) if threshold is not None else None
    sets = set_rule(coverage, set_score, class_weight)
    run_dir = None
    shot_groups([], shots)  # refuse a misspelt definition before anything is read
    if target.endswith(".npz"):
        if not Path(target).expanduser().exists():
            raise DataProblem(f"{target}: no such file")
        if own_confidence:
            raise UsageProblem("--own-confidence is for a run; a file has one confidence")
        if class_counts is None:
            raise UsageProblem(f"{target}: the shot groups need the training images of each class: --class-counts FILE")
        rule = rule or ThresholdRule.parse(PAPER_RULE)
        if rule.name in ("tuned", "own"):
            raise UsageProblem(
                f"threshold {rule.name} is saved with a run; for a file use a number, id_quantile:Q or val_open"
            )
        if val is None and "val" in rule.splits:
            raise UsageProblem(f"threshold {rule.text} is chosen on validation scores: --val FILE.npz")
        if val is None and sets is not None:
            raise UsageProblem("--coverage is calibrated on validation scores: --val FILE.npz")
        result = evaluate_file(Path(target).expanduser(), class_counts, rule, shots, val)
    else:
        from oltr_cli.commands.named_run import named_run

        if class_counts is not None or val is not None:
            raise UsageProblem("--class-counts and --val are for a FILE.npz; a run has both already")
        display = Display()
        run_dir = named_run(target, display)
        chosen = None if own_confidence else read_chosen_detector(run_dir)
        if chosen is None:
            result = evaluate_run(run_dir, rule, shots)
        else:
            display.starting_torch()
            from oltr_cli.pipeline.chosen import evaluate_chosen

            result = evaluate_chosen(run_dir, chosen, rule, shots)
    covered = None
    if sets is not None:
        from oltr_cli.protocol.set_coverage import coverage_table, file_set_coverage

        if run_dir is not None:
            covered = _run_set_coverage(run_dir, sets, shots)
        elif val is not None and class_counts is not None:
            covered = file_set_coverage(Path(target).expanduser(), val, class_counts, sets, shots)
    if json_:
        print_json(result.as_json() | ({} if covered is None else {"sets": covered[0].as_json()}))
        return
    SafeConsole().print(table(result))
    if covered is not None:
        SafeConsole().print(coverage_table(*covered, shots))
    if threshold is None and result.threshold.rule == "tuned":
        Display().say("[dim]τ as oltr tune threshold chose it; --threshold own shows the run's own rule[/]")
    SafeConsole(stderr=True).print(
        "[dim]next[/]", escape(_next_command(target, run_dir, result, class_counts)), markup=True, soft_wrap=True
    )


def _run_set_coverage(run_dir: Path, rule: "SetRule", shots: str) -> "tuple[SetCoverage, LabelSets]":
    """Label sets of a run on its test set; those of a detector's run are of the run under it, which has the logits.

    Raises:
        DataProblem: scores are missing or broken.
    """
    from oltr_cli.planning.registry import PLUS
    from oltr_cli.planning.which_run import parent_of
    from oltr_cli.protocol.set_coverage import set_coverage
    from oltr_cli.runs.folder import run_from_path
    from oltr_cli.runs.result import read_result
    from oltr_cli.runs.scores import SavedScores

    run, base = run_from_path(run_dir.resolve()), run_dir
    if run is not None and PLUS in run.method and (parent := parent_of(run)) is not None:
        base = parent.path
    test, val = (SavedScores.load(base / "scores" / f"{split}.npz") for split in ("test", "val"))
    return set_coverage(test, val, read_result(run_dir).class_counts, rule, shots)


def _next_command(target: str, run_dir: Path | None, result: "Evaluation", class_counts: Path | None) -> str:
    """The next command: choose τ on validation data if it is not yet, then the paper's table, or JSON for a file."""
    from oltr_cli.base.added_files import given_files
    from oltr_cli.commands.next_steps import compare_command, tune_run_command

    on_validation = "quantile" in result.threshold.rule or result.threshold.rule in ("val_open", "tuned")
    if run_dir is not None and result.run is not None:
        if not on_validation:
            has_open_val = (run_dir / "scores" / "open_val.npz").exists()
            return tune_run_command(target, has_open_val=has_open_val)
        dataset = result.run.split("/")[0]
        if result.detector is not None:
            return f"oltr compare --table detectors --dataset {shlex.quote(dataset)}{given_files()}"
        return compare_command(dataset, f"--dataset {shlex.quote(dataset)}{given_files()}", result.metrics)
    command = shlex.join(["oltr", "evaluate", target, "--class-counts", str(class_counts)])
    return command + (" --json" if on_validation else " --threshold id_quantile:0.95 --val FILE.npz")
