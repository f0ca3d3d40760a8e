"""What to type next, as commands print it: every one of them is meant to work as it stands."""

import shlex
from collections.abc import Iterable

WITHOUT_OPEN = ("--rule", "id_quantile:0.95")  # of oltr tune threshold, where there are no open validation images


def compare_command(dataset: str, option: str, metrics: Iterable[str] = ()) -> str:
    """The table that a run of ``dataset`` with these metrics is a row of; ``option`` names its recipe or dataset."""
    from oltr_cli.tables.paper import tables_of

    return f"oltr compare --table {tables_of(dataset, metrics)[0]} {option}"


def tune_threshold_command(dataset: str, method: str | None = None, *, has_open_val: bool) -> str:
    """τ of the runs on ``dataset``; without open validation images by the rule that needs none."""
    words = ["oltr", "tune", "threshold", *(["--method", method] if method else []), "--dataset", dataset]
    return shlex.join([*words, *([] if has_open_val else WITHOUT_OPEN)])
