"""One job on this machine: the GPU or the share of the cores that it gets, how it is started, how it is stopped."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from oltr_cli.base.machine import cores
from oltr_cli.errors import OltrError
from oltr_cli.launching.command_job import CommandJob, shown
from oltr_cli.launching.records import Record, jobs_root, process_started, read_records, this_host
from oltr_cli.launching.settings import LOCAL, Launcher
from oltr_cli.launching.states import is_process, states_of
from oltr_cli.launching.tasks import Task

FOREVER = 60 * 24 * 365  # minutes
_NVIDIA, _AMD = Path("/dev/nvidiactl"), Path("/dev/kfd")  # there if the kernel has their driver
_CUDA, _HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


def gpus(device: str | None) -> list[str]:
    """The GPUs that jobs may be given, by number or name; none with ``device`` cpu or mps.

    CUDA_VISIBLE_DEVICES chooses among them. On AMD's, HIP_VISIBLE_DEVICES comes first, as for torch.
    """
    if device not in (None, "cuda") or not (_NVIDIA.exists() or _AMD.exists()):
        return []
    for name in (_CUDA,) if _NVIDIA.exists() else (_HIP, _CUDA):
        if (visible := os.environ.get(name)) is not None:
            return [one.strip() for one in visible.split(",") if one.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def start_job(task: Task, launcher: Launcher, devices: Sequence[str]) -> tuple[Any, Record]:
    """Start a job, and record it; returns submitit's job and the record.

    Raises:
        OSError, OltrError: its files cannot be written; then nothing runs.
    """
    from submitit import LocalExecutor

    assert launcher.count is not None
    device = _free_device(devices)
    folder = jobs_root() / task.name
    # What is out of time is started again by the launching process: submitit itself would stop after six times.
    executor = LocalExecutor(folder, max_num_timeout=0)
    executor.update_parameters(
        timeout_min=launcher.minutes or FOREVER,
        signal_delay_s=launcher.signal_delay,
        stderr_to_stdout=True,
    )
    share = max(1, cores() // launcher.count)
    arguments = [*task.arguments]
    if "--workers" not in arguments:
        arguments += ["--workers", str(_loading_workers(share, device))]
    patience = max(1.0, launcher.signal_delay - 5.0)
    job = CommandJob(arguments, _environment(device, share), Path.cwd(), folder, patience)
    with _apart():
        submitted = executor.submit(job)
    record = Record(
        name=task.name,
        label=task.label,
        launcher=LOCAL,
        id=submitted.job_id,
        command=shown(arguments),
        submitted=time.time(),
        host=this_host(),
        started=process_started(int(submitted.job_id)),
        owner=os.getpid(),
        owner_started=process_started(os.getpid()),
        device=device,
    )
    try:
        record.write()
    except OltrError:  # nobody would find it
        cancel_local([record])
        raise
    return submitted, record


def cancel_local(records: Iterable[Record]) -> None:
    """Tell local jobs to save a checkpoint and end."""
    for record in records:
        if is_process(record.host, int(record.id), record.started):
            with suppress(ProcessLookupError):
                os.kill(int(record.id), signal.SIGTERM)


def _environment(device: str, share: int) -> dict[str, str]:
    """What a job's command gets besides the environment: its GPU, and its share of the cores unless the user said."""
    # submitit sets CUDA_VISIBLE_DEVICES for its own process; the command gets it from here.
    environment = dict.fromkeys((_CUDA,) if _NVIDIA.exists() else (_HIP, _CUDA), device) if device else {}
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(share)
    return environment


def _loading_workers(share: int, device: str) -> int:
    """Loading processes of a job; none on one core without a GPU, where one would only take time from training."""
    return min(8, share // 2) or int(device != "")


def _free_device(devices: Sequence[str]) -> str:
    """The GPU that the fewest jobs of this runs folder use; "" without any."""
    if not devices:
        return ""
    records = [one for one in read_records() if one.launcher == LOCAL and one.host == this_host() and one.device]
    states = states_of(records)
    used = [one.device for one in records if states[one.name].active]
    return min(devices, key=used.count)


@contextmanager
def _apart() -> Iterator[None]:
    """What is started here does not end with this process: not by the keys and the end of its terminal, and it does
    not hold its output open."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    kept = [(number, os.dup(number)) for number in (0, 1, 2)]
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for number, _ in kept:
            os.dup2(nothing, number)
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nothing)
        for number, handler in before.items():
            signal.signal(number, handler)
