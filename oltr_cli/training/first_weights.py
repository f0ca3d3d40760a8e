"""What a network starts from: another run, a weight file, or only its seed."""

from rich.markup import escape

from oltr_cli.errors import DataProblem
from oltr_cli.method import Method
from oltr_cli.networks.pretrained import load_named_weights
from oltr_cli.networks.timm_data import contradictions
from oltr_cli.networks.weights import inherit_state
from oltr_cli.recipe.timm_names import PREFIX
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
        with task.accelerator.main_process_first():  # one process downloads while the others wait
            report = load_named_weights(method.backbone, task.recipe.backbone, task.display.quiet)
        say(f"[dim]{escape(task.recipe.backbone.weights)}: {report.summary()}[/]")
        name, data = task.recipe.backbone.name, task.recipe.data
        if name.startswith(PREFIX) and (wrong := contradictions(name, data)):
            task.display.warn(
                f"{name} was trained on other images: {escape(wrong)}; leave these keys out of the recipe"
            )
