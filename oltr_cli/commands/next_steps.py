"""The next command, as commands print it: each can be typed without changes, with the files that were added."""

import shlex
from collections.abc import Iterable

from oltr_cli.base.added_files import given_files

WITHOUT_OPEN = ("--rule", "id_quantile:0.95")  # of oltr tune threshold, where there are no open validation images


def compare_command(dataset: str, option: str, metrics: Iterable[str] = ()) -> str:
    """Shows the table with a row for a run of ``dataset`` with these metrics; ``option`` names recipe or dataset."""
    from oltr_cli.tables.paper import tables_of

    return f"oltr compare --table {tables_of(dataset, metrics)[0]} {option}"


def tune_threshold_command(dataset: str, method: str | None = None, *, has_open_val: bool) -> str:
    """Chooses τ for the runs on ``dataset``; without open validation images, by the rule that needs none."""
    words = ["oltr", "tune", "threshold", *(["--method", method] if method else []), "--dataset", dataset]
    return shlex.join([*words, *([] if has_open_val else WITHOUT_OPEN)]) + given_files()


def tune_run_command(run: str, *, has_open_val: bool) -> str:
    """Chooses τ for one run, as ``tune_threshold_command`` does for all."""
    words = ["oltr", "tune", "threshold", "--run", run, *([] if has_open_val else WITHOUT_OPEN)]
    return shlex.join(words) + given_files()
