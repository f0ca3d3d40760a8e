"""A group of processes in which a test's function runs, as ``torchrun`` would start them; they speak by gloo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.helpers.forked import context


def in_group(function: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> list[Any]:
    """What ``function(rank, world, *arguments)``, at the top of a module, returns in each of ``world`` processes."""
    folder.mkdir()
    processes = [
        context.Process(target=_member, args=(function, rank, world, str(folder), arguments)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * world
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def _member(function: Callable[..., Any], rank: int, world: int, folder: str, arguments: tuple[Any, ...]) -> None:
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    torch.save(function(rank, world, *arguments), Path(folder, f"{rank}.pt"))
    distributed.destroy_process_group()
