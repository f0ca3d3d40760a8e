"""A group of processes in which a test's function runs, as ``torchrun`` would start them; they speak by gloo."""

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.helpers.forked import Forked, context
from tests.helpers.tiny import Oltr


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


def start_group(environment: Mapping[str, str], world: int, folder: Path, *arguments: object) -> list[Forked]:
    """``oltr ARGUMENTS`` in ``world`` processes, with the variables that ``torchrun`` sets.

    Args:
        folder: for what they write to tell each other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    members = []
    for rank in map(str, range(world)):
        (folder / rank).mkdir(parents=True, exist_ok=True)
        own = {
            **{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            "TORCHELASTIC_ERROR_FILE": str(folder / rank / "error.json"),
        }
        members.append(Forked([*map(str, arguments)], {**environment, **own}))
    return members


def run_together(oltr: Oltr, world: int, *arguments: object) -> dict[str, Any]:
    """The result of ``oltr run ARGUMENTS`` in ``world`` processes, of which one speaks."""
    folder = oltr.runs.parent / "group"
    group = start_group(oltr.env, world, folder, "run", *arguments, "--json", "--workers", 0)
    said = [member.communicate(timeout=240) for member in group]
    assert [member.returncode for member in group] == [0] * world, said
    assert [out for out, _ in said[1:]] == [""] * (world - 1)
    result: dict[str, Any] = json.loads(said[0][0])
    return result
