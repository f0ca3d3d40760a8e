"""The ``oltr`` command: registers one function a command and turns errors into one line and an exit code.

Nothing here or at the top of ``oltr_cli.commands`` imports torch, mlflow or optuna: ``oltr --help`` answers at once.
"""

import os
import sys
import traceback
from typing import Annotated

import typer

from oltr_cli import __version__
from oltr_cli.base.streams import PIPE_CLOSED, ReaderLeft, guard_streams
from oltr_cli.base.text import visible
from oltr_cli.commands.compare import compare
from oltr_cli.commands.data import data_app
from oltr_cli.commands.evaluate import evaluate
from oltr_cli.commands.export import export
from oltr_cli.commands.figure import figure
from oltr_cli.commands.ls import cp, ls
from oltr_cli.commands.predict import predict
from oltr_cli.commands.report import report
from oltr_cli.commands.run import run
from oltr_cli.commands.show import show
from oltr_cli.commands.tune import tune_app
from oltr_cli.commands.ui import ui
from oltr_cli.errors import OltrError, UsageProblem

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oltr {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Open long-tailed recognition: train every method on the same footing, keep every run, see it beside the paper.

    Start with **oltr run dme**: it trains the paper's method on a built-in dataset in a few minutes.

    Results go to stdout, progress to stderr. Exit codes: 0 done · 1 a run failed · 2 usage or recipe · 3 data missing
    or corrupt · 4 loss not finite · 129/130/143 stopped with a checkpoint.
    """


app.command()(run)
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.command()(compare)
app.command()(figure)
app.command()(report)
app.add_typer(tune_app, name="tune")
app.add_typer(data_app, name="data")
app.command()(ls)
app.command()(show)
app.command()(cp)
app.command()(ui)


def _refuse_empty(arguments: list[str]) -> None:
    """An empty value is a variable of a script that was not set: the default would be used without a word."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if not argument:
            raise UsageProblem(
                f"an argument is empty{f', after {before}' if before else ''}; leave it out or fill it in"
            )
        if option.startswith("--") and equals and not value:
            raise UsageProblem(f"{option} is empty; leave it out or give it a value")


def main() -> None:
    """Entry point of the console script."""
    # Read when torch is imported, later on. Threads that spin while they wait halve the speed of a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Distributed training: torch's C++ side would warn, once a process, that every parameter got a gradient.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    guard_streams()
    try:
        try:
            _refuse_empty(sys.argv[1:])
            app()
        finally:
            sys.stdout.flush()
    except OltrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ReaderLeft:  # oltr ls | head
        sys.exit(PIPE_CLOSED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno and error.filename is not None:
            # No permission, a folder in the place of a file, a full disk: what the system says of it is all there is.
            print(f"error: {visible(str(error.filename))}: {error.strerror}", file=sys.stderr)
            sys.exit(1)
        if isinstance(error, RuntimeError) and "home directory" in str(error):  # pathlib, of ~nobody
            print("error: a path begins with ~ and a user who does not exist on this machine", file=sys.stderr)
            sys.exit(2)
        # A fault of ours, or of somebody's method. Its traceback holds the loader, whose workers ignore SIGTERM, and
        # the interpreter would wait for them for ever on its way out: they end once the traceback is let go.
        traceback.print_exc()
    else:
        return
    sys.exit(1)


if __name__ == "__main__":
    main()
