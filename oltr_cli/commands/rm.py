"""``oltr rm``."""

from pathlib import Path
from typing import Annotated

import typer

from oltr_cli.commands import complete


def rm(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            autocompletion=complete.runs,
            help="Runs, each by a unique part of its name, and studies",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> None:
    """Remove runs, and studies of oltr tune, with all their files. MLflow keeps its copy.

    A run that other runs start from is kept until they are removed, a run that is being trained until that ends.

    ```
    oltr rm mine/dme/830fc41025-s0
    oltr rm 830fc41025 8aeb7d9753 --yes
    ```
    """
    from oltr_cli.runs.folder import find_studies
    from oltr_cli.runs.remove import remove_folder

    studies = find_studies()
    folders: dict[Path, str] = {}  # with what to say of each
    for name in names:
        path = studies.get(name.strip("/"))
        if path is not None:
            folders[path] = f"{name.strip('/')}  study"
    folders |= _runs([name for name in names if name.strip("/") not in studies])
    if not yes:
        for line in folders.values():
            typer.echo(line, err=True)
        if not agreed(f"remove {'it' if len(folders) == 1 else 'them'}?"):
            return
    for path, line in folders.items():
        remove_folder(path)
        typer.echo(f"removed {line.split('  ')[0]}", err=True)


def agreed(question: str) -> bool:
    """Whether the user agrees to a removal; it is said if not.

    Raises:
        UsageProblem: nobody can answer.
    """
    from oltr_cli.errors import UsageProblem

    try:
        answer = typer.confirm(question, err=True)
    except typer.Abort:
        raise UsageProblem("nothing was removed: there was no answer; --yes removes without asking") from None
    if not answer:
        typer.echo("nothing was removed", err=True)
    return answer


def _runs(names: list[str]) -> dict[Path, str]:
    """Folder → line of the runs to remove; refuses names that fit several, and runs that others start from."""
    from oltr_cli.base.text import some
    from oltr_cli.errors import UsageProblem
    from oltr_cli.planning.which_run import only_run, parent_of, when
    from oltr_cli.runs.folder import find_runs

    runs = {run.path.resolve(): run for run in map(only_run, names)}
    others = [run for root in {run.root for run in runs.values()} for run in find_runs(root)]
    from_them = [
        (run, parent)
        for run in others
        if (parent := parent_of(run)) and parent.path.resolve() in runs and run.path.resolve() not in runs
    ]
    if from_them:
        children, parents = (list(dict.fromkeys(run.name for run in side)) for side in zip(*from_them, strict=True))
        verb = "starts" if len(children) == 1 else "start"
        raise UsageProblem(f"{some(children)} {verb} from {some(parents)}; name {some(children)} too, or keep both")
    return {path: f"{run.name}  {run.status()} {when(run)}" for path, run in runs.items()}
