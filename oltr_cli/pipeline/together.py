"""How the processes that ``torchrun`` started agree on what to do.

A run may be finished, or taken, by another command between the looks of two of them. Then one would go on while the
other waits in an exchange that the first never joins. So the first process looks, and all do what it found.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from oltr_cli.base.machine import in_group, is_main_process
from oltr_cli.errors import OltrError, released
from oltr_cli.pipeline.problems import named_lost_process

T = TypeVar("T")
PATIENCE = timedelta(days=2)  # the first process may wait hours for another command
LATE = timedelta(seconds=30)  # between the first and the last of the group that meet the same error


def of_first(look: Callable[[], T]) -> T:
    """What ``look`` gives, or raises, in the first process of the group; without a group, in this one.

    The group has to be joined (``make_accelerator``). What it gives is sent as a pickle.

    Raises:
        OltrError: the first process did, in all of them; or another process ended.
    """
    if not in_group():
        return look()
    from torch import distributed

    told: list[Any] = [None, None]
    if is_main_process():
        try:
            told = [look(), None]
        except OltrError as error:
            told = [None, released(error)]
    with named_lost_process():
        distributed.broadcast_object_list(told, group=_channel())
    found, problem = told
    if problem is not None:
        raise problem
    return found


def all_are_here() -> bool:
    """Whether all processes of the group come to this point, as they do after an error that they all meet."""
    if not in_group():
        return True
    from torch import distributed

    try:
        distributed.monitored_barrier(_channel(), timeout=LATE)
    except RuntimeError:
        return False
    return True


@cache
def _channel() -> Any:
    """A group of its own, over the network: GPUs would be kept busy by waiting."""
    from torch import distributed

    return distributed.new_group(backend="gloo", timeout=PATIENCE)
