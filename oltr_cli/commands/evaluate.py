"""``oltr evaluate``: every metric, from saved scores."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from rich.console import RenderableType

    from oltr_cli.api.examination import Examination
    from oltr_cli.base.display import Display
    from oltr_cli.protocol.evaluate import Evaluation
    from oltr_cli.protocol.label_sets import SetRule


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
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Show the numbers of each class, the worst first")
    ] = False,
    confusions: Annotated[
        bool,
        typer.Option(
            "--confusions",
            help="Show the 50 most frequent pairs of true class and wrong decision; write all as CSV (a matrix, above "
            "1,000 classes a line for each pair) and, up to 60 classes, a picture",
        ),
    ] = False,
    mistakes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Name the N most confident mistakes of each kind", show_default=False),
    ] = None,
    mislabelled: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Name N images whose labels are perhaps wrong; needs cleanlab", show_default=False
        ),
    ] = None,
    coverage: Coverage = None,
    set_score: SetScore = None,
    class_weight: ClassWeight = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where --confusions writes confusions-NAME.csv and .png")
    ] = Path(),
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
    oltr evaluate scores.npz --class-counts counts.txt  scores from elsewhere
    oltr evaluate mine/dme --per-class --confusions     which classes go wrong, and how
    oltr evaluate mine/dme --mistakes 20 --mislabelled 20    which images to look at
    oltr evaluate mine/dme --coverage 0.9               what label sets hold, by shot group
    ```
    """
    from rich.markup import escape

    from oltr_cli.base.display import Display, SafeConsole
    from oltr_cli.errors import UsageProblem
    from oltr_cli.protocol.mislabelled import check_cleanlab
    from oltr_cli.protocol.screen import table

    display = Display()
    sets = set_rule(coverage, set_score, class_weight)
    if sets is not None and target.endswith(".npz") and val is None:
        raise UsageProblem("--coverage is calibrated on validation scores: --val FILE.npz")
    if mislabelled is not None:
        check_cleanlab()
    if out != Path() and not confusions:
        raise UsageProblem("--out is for the files of --confusions; add it")
    if out.expanduser().is_file():
        raise UsageProblem(f"--out {out}: is a file, not a folder")
    examined, run_dir = _examined(target, class_counts, threshold, shots, val, own_confidence, display)
    result = examined.evaluation
    parts = _Parts(examined, per_class, confusions, mistakes, mislabelled, sets)
    files = parts.write(out, target) if confusions else []
    if json_:
        print_json(result.as_json() | parts.as_json(files))
        return
    console, shown = SafeConsole(), [table(result), *parts.shown()]  # nothing is printed if a part fails
    for part in shown:
        console.print(part, crop=False)  # names of files are longer than lines
    for file in files:
        print(file)
    if threshold is None and result.threshold.rule == "tuned":
        display.say("[dim]τ as oltr tune threshold chose it; --threshold own shows the run's own rule[/]")
    display.say(f"[dim]next[/]  {escape(_next_command(target, run_dir, result, class_counts))}")


def _examined(
    target: str,
    class_counts: Path | None,
    threshold: str | None,
    shots: str,
    val: Path | None,
    own_confidence: bool,
    display: "Display",
) -> "tuple[Examination, Path | None]":
    """What is evaluated, and the folder of the run if it is one; errors name the options."""
    from oltr_cli.api.examination import examine, examine_run
    from oltr_cli.errors import DataProblem, UsageProblem
    from oltr_cli.protocol.shots import shot_groups
    from oltr_cli.protocol.thresholds import PAPER_RULE, ThresholdRule
    from oltr_cli.runs.choices import read_chosen_detector

    rule = ThresholdRule.parse(threshold) if threshold is not None else None
    shot_groups([], shots)  # refuse a misspelt definition before anything is read
    if not target.endswith(".npz"):
        from oltr_cli.commands.named_run import named_run

        if class_counts is not None or val is not None:
            raise UsageProblem("--class-counts and --val are for a FILE.npz; a run has both already")
        run_dir = named_run(target, display)
        if not own_confidence and read_chosen_detector(run_dir) is not None:
            display.starting_torch()
        return examine_run(run_dir, rule, shots, own_confidence), run_dir
    if not Path(target).expanduser().exists():
        raise DataProblem(f"{target}: no such file")
    if own_confidence:
        raise UsageProblem("--own-confidence is for a run; a file has one confidence")
    if class_counts is None:
        raise UsageProblem(f"{target}: the shot groups need the training images of each class: --class-counts FILE")
    rule = rule or ThresholdRule.parse(PAPER_RULE)
    if rule.name in ("tuned", "own"):
        raise UsageProblem(
            f"threshold {rule.text} is saved with a run; for a file use a number, id_quantile:Q or val_open"
        )
    if val is None and "val" in rule.splits:
        raise UsageProblem(f"threshold {rule.text} is chosen on validation scores: --val FILE.npz")
    return examine(target, class_counts, threshold=threshold, shots=shots, val=val), None


@dataclass
class _Parts:
    """The parts beside the metrics that were asked for."""

    examined: "Examination"
    per_class: bool
    confusions: bool
    mistakes: int | None
    mislabelled: int | None
    sets: "SetRule | None"

    def write(self, out: Path, target: str) -> list[Path]:
        from oltr_cli.api.files import write_confusions

        run = self.examined.evaluation.run
        name = run.replace("/", "-") if run else Path(target).stem
        return write_confusions(self.examined, self.examined.confusions(), out.expanduser(), name)

    def shown(self) -> "Iterator[RenderableType]":
        from oltr_cli.protocol import class_screen

        names = self.examined.class_names
        if self.per_class:
            yield class_screen.class_table(self.examined.per_class(), names)
        if self.confusions:
            yield class_screen.confusion_table(self.examined.confusions(), names)
        if self.mistakes is not None:
            yield class_screen.mistake_table(self.examined.mistakes(self.mistakes), names)
        if self.mislabelled is not None:
            yield class_screen.suspect_table(self.examined.mislabelled(self.mislabelled), names)
        if self.sets is not None:
            from oltr_cli.protocol.set_coverage import coverage_table

            yield coverage_table(*self.examined.label_sets(self.sets), self.examined.evaluation.shots)

    def as_json(self, files: list[Path]) -> dict[str, Any]:
        from oltr_cli.api import as_json

        names, found = self.examined.class_names, dict[str, Any]()
        if self.per_class:
            found["per_class"] = as_json.classes_json(self.examined.per_class(), names)
        if self.confusions:
            found["confusions"] = as_json.confusions_json(self.examined.confusions(), names)
            found["files"] = files
        if self.mistakes is not None:
            found["mistakes"] = as_json.mistakes_json(self.examined.mistakes(self.mistakes), names)
        if self.mislabelled is not None:
            found["mislabelled"] = as_json.mislabelled_json(self.examined.mislabelled(self.mislabelled), names)
        if self.sets is not None:
            found["sets"] = self.examined.label_sets(self.sets)[0].as_json()
        return found


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
