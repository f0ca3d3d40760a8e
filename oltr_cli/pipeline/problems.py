"""What can go wrong around a run: lists that changed since it finished, and what the machine runs out of."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from oltr_cli.base.display import Display
from oltr_cli.base.machine import is_main_process
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, OltrError, UsageProblem, first_line
from oltr_cli.planning.plan import Planned
from oltr_cli.runs.result import RunResult


def warn_of_other_lists(p: Planned, result: RunResult, display: Display) -> None:
    """Warn if lists or class names have changed since a finished run; without the lists, its result is still valid."""
    if not is_main_process():
        return
    from oltr_cli.data.feed.opening import names_now, other_lists

    with suppress(DataProblem):
        if (other := other_lists(p.link.recipe.data, result.data_digest)) is not None:
            lists, digest = other
            display.warn(
                f"the lists in {lists} have changed since {p.run.name}, which keeps its result; for a run on them, set "
                f'data.lists_digest to "{digest}"'
            )
            return
        names = names_now(p.link.recipe.data, len(result.class_names))
        if changed := [pair for pair in zip(result.class_names, names, strict=False) if pair[0] != pair[1]]:
            old, new = changed[0]
            display.warn(
                f"classes.txt has other names for {counted(len(changed), 'class')} than {p.run.name}, such as '{new}' "
                f"instead of '{old}'; to rename it for existing runs too, put '{old}' back and type: oltr data rename "
                f"{shlex.join([p.run.dataset, old, new])}"
            )


@contextmanager
def named_shortages() -> Iterator[None]:
    """Turn an error of a machine that runs out of something into one line that says what to do."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OltrError(f"out of GPU memory; lower train.batch_size ({first_line(error)})") from error
    except ValueError as error:
        if "more than 1 value per channel" in str(error):  # torch's batch norm
            raise UsageProblem(
                "batch norm needs two values of each channel, and this batch gives one; raise train.batch_size or "
                "data.image_size"
            ) from error
        raise
    except RuntimeError as error:
        text = first_line(error)
        if "DataLoader worker" in text:
            raise OltrError(
                f"a loading process was killed, perhaps because memory ran out; try --workers 0 ({text})"
            ) from error
        if "can't allocate memory" in text:
            raise OltrError(f"out of memory; lower train.batch_size ({text})") from error
        raise
