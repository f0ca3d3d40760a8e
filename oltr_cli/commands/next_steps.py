"""The next command, as commands print it: each can be typed without changes."""

import shlex
from collections.abc import Iterable

WITHOUT_OPEN = ("--rule", "id_quantile:0.95")  # of oltr tune threshold, where there are no open validation images


def compare_command(dataset: str, option: str, metrics: Iterable[str] = ()) -> str:
    """Shows the table with a row for a run of ``dataset`` with these metrics; ``option`` names recipe or dataset."""
    from oltr_cli.tables.paper import tables_of

    return f"oltr compare --table {tables_of(dataset, metrics)[0]} {option}"


def tune_threshold_command(dataset: str, method: str | None = None, *, has_open_val: bool) -> str:
    """Chooses τ for the runs on ``dataset``; without open validation images, by the rule that needs none."""
    words = ["oltr", "tune", "threshold", *(["--method", method] if method else []), "--dataset", dataset]
    return shlex.join([*words, *([] if has_open_val else WITHOUT_OPEN)])
