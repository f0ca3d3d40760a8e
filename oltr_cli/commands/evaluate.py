"""``oltr evaluate``: every metric, from saved scores."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands.options import Json, Shots, ThresholdOption
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.protocol.evaluate import Evaluation


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE.npz",
            help="A run (its folder, its name or a part of it), or a file of scores: labels with −1 = open, and "
            "logits, or prediction and confidence.",
            show_default=False,
        ),
    ],
    class_counts: Annotated[
        Path | None,
        typer.Option(
            help="For a file: training images of each class. One count a line, 'label count' a line, a training "
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
            help="For a file: validation scores of the same form, for id_quantile and val_open.",
            metavar="FILE.npz",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Every metric of a run's saved scores, or of anybody's; τ of a file is 0.1 by default.

    ```
    oltr evaluate glyphs-lt/dme                         by any part of its name
    oltr evaluate glyphs-lt/dme --threshold val_open    another choice of τ
    oltr evaluate glyphs-lt/dme+vim --threshold -27.3   a τ of your own
    oltr evaluate scores.npz --class-counts counts.txt  anybody's scores
    ```
    """
    from oltr_cli.base.display import make_console
    from oltr_cli.errors import UsageProblem
    from oltr_cli.protocol.evaluate import evaluate_file, evaluate_run
    from oltr_cli.protocol.screen import table
    from oltr_cli.protocol.shots import shot_groups
    from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule

    rule = ThresholdRule.parse(threshold) if threshold is not None else None
    shot_groups([], shots)  # a misspelt definition is refused before anything is read
    if target.endswith(".npz"):
        if class_counts is None:
            raise UsageProblem(f"{target}: the shot groups need the training images of each class: --class-counts FILE")
        rule = rule or ThresholdRule.parse(PAPER_RULE)
        if rule.name == "tuned":
            raise UsageProblem("threshold tuned is saved with a run; for a file take fixed, id_quantile or val_open")
        if val is None and "val" in rule.splits:
            raise UsageProblem(f"threshold {rule.text} is chosen on validation scores: --val FILE.npz")
        result = evaluate_file(Path(target).expanduser(), class_counts, rule, shots, val)
    else:
        from oltr_cli.runs.folder import resolve_run

        if class_counts is not None or val is not None:
            raise UsageProblem("--class-counts and --val belong to a FILE.npz; a run knows its own")
        result = evaluate_run(resolve_run(target), rule, shots)
    if json_:
        print_json(result.as_json())
        return
    make_console().print(table(result))
    make_console(stderr=True).print(
        "[dim]next[/]", _next_command(target, result, class_counts), markup=True, soft_wrap=True
    )


def _next_command(target: str, result: "Evaluation", class_counts: Path | None) -> str:
    """What to type next: while τ is not chosen on validation data, that; then the paper's table or bare numbers."""
    from oltr_cli.commands.next_steps import WITHOUT_OPEN, compare_command
    from oltr_cli.runs.folder import resolve_run

    on_validation = result.threshold.rule.startswith(("id_quantile", "val_open", "tuned"))
    if result.run is not None:
        if not on_validation:
            has_open_val = (resolve_run(target) / "scores" / "open_val.npz").exists()
            return shlex.join(["oltr", "tune", "threshold", "--run", target, *([] if has_open_val else WITHOUT_OPEN)])
        dataset = result.run.split("/")[0]
        return compare_command(dataset, f"--dataset {shlex.quote(dataset)}", result.metrics)
    command = shlex.join(["oltr", "evaluate", target, "--class-counts", str(class_counts)])
    return command + (" --json" if on_validation else " --threshold id_quantile:0.95 --val FILE.npz")
