"""What a network starts from: another run, a weight file, or only its seed."""

from pathlib import Path

from rich.markup import escape

from oltr_cli.errors import DataProblem
from oltr_cli.method import Method
from oltr_cli.networks.pretrained import fetch_torchvision
from oltr_cli.networks.weights import inherit_state, load_weights
from oltr_cli.recipe.backbones import TORCHVISION
from oltr_cli.runs.checkpoint import load_best
from oltr_cli.training.new_classes import for_these_classes
from oltr_cli.training.task import Task


def first_weights(task: Task, method: Method, quiet: bool) -> None:
    """Give ``method`` the weights of the run that ``task`` starts from, or of the file that its recipe names.

    Raises:
        DataProblem: the run's checkpoint lacks weights of the backbone.
    """
    say = (lambda line: None) if quiet else task.display.say
    if task.parent is not None:
        parent, renames = load_best(task.parent)["model"], task.cls.renames
        if task.parent.method == task.recipe.method:  # oltr run --from
            parent, classes = for_these_classes(task, task.parent, parent)
            renames = {}
            if classes:
                say(f"[dim]classes of {task.parent.name}: {classes}[/]")
        report = inherit_state(method, parent, renames)
        lost = [n for n in report.missing if n.startswith("backbone.") and "extra_fc" not in n]
        if lost:
            raise DataProblem(f"{task.parent.name}/best.pt lacks {len(lost)} backbone weights, such as {lost[0]}")
        say(f"[dim]from {task.parent.name}: {report.summary()}[/]")
    elif task.recipe.backbone.weights:
        report = load_weights(method.backbone, _weight_file(task))
        say(f"[dim]{escape(task.recipe.backbone.weights)}: {report.summary()}[/]")


def _weight_file(task: Task) -> str | Path:
    """The file that the recipe names; torchvision's is downloaded by one process while the others wait."""
    backbone = task.recipe.backbone
    if backbone.weights != TORCHVISION:
        return backbone.weights
    with task.accelerator.main_process_first():
        return fetch_torchvision(backbone, quiet=task.display.quiet)
