"""The machine a run happens on: device, precision, processes, workers. None of it defines a run."""

import ctypes
import hashlib
import os
import platform
import re
import subprocess
import sys
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from oltr_cli import __version__
from oltr_cli.base.secrets import without_secrets
from oltr_cli.errors import UsageProblem

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

Precision = Literal["bf16", "float32", "float64"]


def make_accelerator(device: str | None = None) -> "Accelerator":
    """An Accelerator on ``device`` (``cpu``, ``cuda``, ``mps``; None: the best available), bf16 if the GPU has it.

    Under ``torchrun`` or ``accelerate launch`` it joins the group of processes. Each takes a GPU of its own; without
    any they share the CPU.

    Raises:
        UsageProblem: the device does not exist here, there are fewer of it than processes, or it lacks OLTR_PRECISION.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    ready = ready_device(device)
    use_gpu = ready.type == "cuda"
    if in_group():
        _check_group(device, torch.cuda.device_count() if use_gpu else None)
    if not use_gpu:
        _keep_freed_memory()
    asked = precision(ready)
    if asked == "float64":
        torch.set_default_dtype(torch.float64)
    return Accelerator(
        # Without a GPU accelerate joins the group only if it is told to use the CPU.
        cpu=device == "cpu" or (in_group() and not use_gpu),
        mixed_precision="bf16" if asked == "bf16" else "no",
        # Parts of a method that are turned off (no memory, no selector) leave parameters without gradient.
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            # The first process may wait hours for another command that makes the same run; the others wait with it.
            InitProcessGroupKwargs(timeout=timedelta(days=2)),
        ],
    )


def ready_device(device: str | None = None) -> "torch.device":
    """``device``, or the best available, with torch set as all of oltr uses it: the same scores wherever they are made.

    It is the device of ``make_accelerator`` in a process of its own; accelerate, whose state a program may need
    otherwise, is not used.

    Raises:
        UsageProblem: the device does not exist here.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is not None and not available.get(device.split(":")[0], False):
        here = ", ".join(name for name, there in available.items() if there)
        raise UsageProblem(f"--device {device}: not available here; available: {here}")
    if device is not None and device.startswith("cuda:"):
        number = device.removeprefix("cuda:")
        if not number.isdigit() or int(number) >= torch.cuda.device_count():
            raise UsageProblem(
                f"--device {device}: this machine has {torch.cuda.device_count()} GPUs, counted from cuda:0"
            )
        torch.cuda.set_device(int(number))
    if available["cuda"] and device != "cpu":
        torch.backends.cudnn.benchmark = True
        # TF32 rounds to ten bits: for those who ask for float32 by name it is not that.
        exact = os.environ.get("OLTR_PRECISION") == "float32"
        torch.set_float32_matmul_precision("highest" if exact else "high")
        torch.backends.cudnn.allow_tf32 = not exact
        return torch.device("cuda")  # the current one; asking which would start it, of several processes once each
    return torch.device("mps" if available["mps"] and device != "cpu" else "cpu")


def check_name(device: str | None) -> str | None:
    """``device``, if it is the name of one; whether this machine has it is known only with torch.

    Raises:
        UsageProblem: it is not.
    """
    if device is not None and re.fullmatch(r"cpu|mps|cuda(:\d+)?", device) is None:
        raise UsageProblem(f"--device {device}: write cpu, cuda, cuda:1 or mps")
    return device


def precision(device: "torch.device") -> Precision:
    """``OLTR_PRECISION``; without it bf16 on a GPU that computes in it, float32 elsewhere.

    bf16 is mixed: parameters and losses are float32. float64 is for training and scoring; it shows that a difference
    between two ways to compute is rounding, and is slow on most GPUs.

    Raises:
        UsageProblem: it is none of the three, or the device cannot compute in it.
    """

    asked = os.environ.get("OLTR_PRECISION") or ("bf16" if device.type == "cuda" and _has_bf16(device) else "float32")
    known: tuple[Precision, ...] = get_args(Precision)
    chosen = next((name for name in known if name == asked), None)
    if chosen is None:
        raise UsageProblem(f"OLTR_PRECISION={asked}: there is no such precision; use one of {', '.join(known)}")
    if (chosen == "float64" and device.type == "mps") or (chosen == "bf16" and not _has_bf16(device)):
        raise UsageProblem(f"OLTR_PRECISION={asked}: this device ({device.type}) does not compute in it; use float32")
    return chosen


def _has_bf16(device: "torch.device") -> bool:
    import torch

    return device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())


def _keep_freed_memory() -> None:
    """Make glibc keep large freed blocks for the next tensor of that size.

    By default it returns them to the system, and every activation of every step is then faulted in page by page again:
    a sixth of a CPU's training time, more on virtual machines. Without glibc this does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        mmap_max, trim_threshold, top_pad = -4, -1, -2  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 64 << 20)


def _check_group(device: str | None, gpus: int | None) -> None:
    """Refuse, with a UsageProblem, a device that the processes of a group cannot have."""
    if device is not None and device not in ("cpu", "cuda"):
        raise UsageProblem(f"--device {device}: several processes take a GPU each, or the CPU; use cuda or cpu")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpus is not None and here > gpus:
        raise UsageProblem(f"{here} processes on {gpus} GPUs; start as many as there are GPUs, or add --device cpu")


def in_group() -> bool:
    """Whether ``torchrun`` or ``accelerate launch`` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def first_to_say(message: str) -> bool:
    """Whether no other process of the group on this machine has said this; most errors meet all of them alike."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")  # in a folder for each process, beside those of the others
    if not in_group() or not file:
        return True
    try:
        digest = hashlib.sha256(message.encode()).hexdigest()
        (Path(file).parent.parent / f"said-{digest}").touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # said twice rather than not at all
        return True
    return True


def is_main_process() -> bool:
    """Whether this is the first process of the group that ``torchrun`` started; true without a group."""
    return os.environ.get("RANK", "0") == "0"


def default_workers() -> int:
    """Loading processes: one on two cores, where training itself needs the rest, up to eight; fewer in a group."""
    return max(1, min(8, cores() // (2 * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))))


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(accelerator: "Accelerator", workers: int) -> dict[str, Any]:
    """The content of environment.json: versions, device, precision, processes, commit, command."""
    import torch

    device = accelerator.device
    return {
        "oltr": __version__,
        "commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in ("torch", "torchvision", "accelerate", "numpy", "mlflow")},
        "device": device_name(device),
        "device_type": device.type,
        "precision": precision(device),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "workers": workers,
        "command": ["oltr", *map(without_secrets, sys.argv[1:])],
    }


def device_name(device: "torch.device") -> str:
    """The name of a GPU, or the kind of the processor and its cores."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {cores()} cores"


def git_commit() -> str | None:
    """Commit of the checkout this package is run from, or None if it is installed."""
    folder = Path(__file__).parent.parent
    return git(folder, "describe", "--always", "--dirty") if (folder / ".git").exists() else None


def git(folder: Path, *arguments: str) -> str | None:
    """What ``git`` prints in ``folder``; None without git, without a checkout, or without an answer."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
            stdin=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
