"""The ``oltr`` command: registers one function per command and turns errors into one line and an exit code.

Nothing here or at the top of ``oltr_cli.commands`` imports torch, mlflow or optuna, so that ``oltr --help`` is fast.
"""

import atexit
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from oltr_cli import __version__
from oltr_cli.base.added_code import fault_of
from oltr_cli.base.machine import first_to_say
from oltr_cli.base.secrets import without_secrets_in
from oltr_cli.base.signals import end_workers
from oltr_cli.base.streams import PIPE_CLOSED, ReaderLeft, check_result, guard_streams
from oltr_cli.base.text import visible_lines
from oltr_cli.commands.add_class import add_class
from oltr_cli.commands.compare import compare
from oltr_cli.commands.data import data_app
from oltr_cli.commands.embed import embed
from oltr_cli.commands.evaluate import evaluate
from oltr_cli.commands.export import export
from oltr_cli.commands.figure import figure
from oltr_cli.commands.hints import hint
from oltr_cli.commands.jobs import jobs
from oltr_cli.commands.ls import cp, ls
from oltr_cli.commands.predict import predict
from oltr_cli.commands.report import report
from oltr_cli.commands.rm import rm
from oltr_cli.commands.run import run
from oltr_cli.commands.serve import serve
from oltr_cli.commands.show import show
from oltr_cli.commands.tune import tune_app
from oltr_cli.commands.ui import ui
from oltr_cli.errors import OltrError, UsageProblem


def _shown(message: str) -> str:
    """``message`` without secrets of addresses and without escape sequences."""
    return visible_lines(without_secrets_in(message))


class _PlainErrors(TyperGroup):
    """Usage errors in which nothing that the user typed reaches the terminal as an escape sequence, and no secret."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _spelled_out():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _spelled_out():
            return super().invoke(ctx)


@contextmanager
def _spelled_out() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            error.message = _shown(message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_PlainErrors,
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
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Open long-tailed recognition: train all methods under the same conditions and compare them with the paper.

    Start with **oltr run dme**: it trains the paper's method on a built-in dataset in a few minutes.

    Results go to stdout, progress to stderr. Exit codes: 0 done · 1 a run failed · 2 usage or recipe · 3 data missing
    or corrupt · 4 loss or scores not finite · 75 left to another process (--no-wait) · 129/130/143 stopped with a
    checkpoint · 141 the reader of stdout left.
    """


for command in (
    *(run, evaluate, predict, add_class, serve, embed, export, compare, figure, report, jobs, ls, show, cp, rm, ui),
):
    app.command()(command)
app.add_typer(tune_app, name="tune")
app.add_typer(data_app, name="data")


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


def _leave(error: OltrError) -> NoReturn:
    if first_to_say(str(error)):
        print(f"error: {_shown(str(error))}", file=sys.stderr)
    sys.exit(error.exit_code)


def main() -> None:
    """Entry point of the console script."""
    # Read when torch is imported, later on. Threads that spin while they wait halve the speed of a shared machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Distributed training: torch's C++ side would warn, once per process, that every parameter got a gradient.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    guard_streams()
    try:
        try:
            _refuse_empty(sys.argv[1:])
            app()
        finally:
            # Registered last, it is called first: what torch registered meanwhile waits seconds for every worker.
            atexit.register(end_workers)
            check_result()
    except OltrError as error:
        _leave(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except SystemExit as leaving:
        if (fault := fault_of(leaving)) is not None:  # an added file may leave as well
            _leave(fault)
        # Typer makes a silent exit of Ctrl-C; a command that has said so itself leaves without this cause.
        if isinstance(getattr(leaving.__context__, "__cause__", None), KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        elif leaving.code == UsageProblem.exit_code and (meant := hint(leaving.__context__, sys.argv[1:])):
            print(f"hint: {_shown(meant)}", file=sys.stderr)
        raise
    except ReaderLeft:  # oltr ls | head
        sys.exit(PIPE_CLOSED)
    except Exception as error:
        if (fault := fault_of(error)) is not None:
            _leave(fault)
        if isinstance(error, OSError) and error.errno and error.filename is not None:
            # No permission, a folder in the place of a file, a full disk: the system's own words are all there is.
            print(f"error: {_shown(str(error.filename))}: {error.strerror}", file=sys.stderr)
            sys.exit(1)
        if isinstance(error, RuntimeError) and "home directory" in str(error):  # pathlib, of ~nobody
            print("error: a path begins with ~ and a user who does not exist on this machine", file=sys.stderr)
            sys.exit(2)
        traceback.print_exc()  # a bug here
        sys.exit(1)


if __name__ == "__main__":
    main()
