"""What all benchmarks share: threads, options, medians of repetitions in turn, and the report as text or JSON.

Import it before numpy and torch: their thread pools read the environment once. ``OMP_NUM_THREADS`` sets the number of
threads, by default all cores that this process may use. Waiting threads sleep: threads that spin take the time of
other programs and of each other, and on a busy machine the form with more parallel steps looks slower than it is.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = int(os.environ.get("OMP_NUM_THREADS") or CORES)
LEAST = 9  # repetitions
TINY_GLYPHS = {  # glyphs-lt with --quick: enough to train on, and drawn in a moment
    **{"known_classes": 8, "open_classes": 4, "open_val_classes": 4, "tail_max": 40, "tail_scale": 60},
    **{"val_per_class": 5, "test_per_class": 12, "open_per_class": 6},
}
TINY_SETS = [f"data.glyphs.{name}={value}" for name, value in TINY_GLYPHS.items()]  # the same for --set
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = str(THREADS)
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # GNU's OpenMP
os.environ["KMP_BLOCKTIME"] = "0"  # Intel's and LLVM's


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options that every benchmark has: ``--repetitions``, ``--quick`` and ``--json``."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--repetitions", type=_repetitions, default=LEAST, help="of each form, at least 9 (default: 9)")
    found.add_argument("--quick", action=_Quick, nargs=0, default=False, help="tiny sizes once, to see that it runs")
    found.add_argument("--json", action="store_true", help="print one line of JSON")
    return found


class _Quick(argparse.Action):
    """One repetition: the times mean nothing."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, *_: Any) -> None:
        namespace.quick, namespace.repetitions = True, 1


def _repetitions(text: str) -> int:
    if not text.isdecimal() or int(text) < LEAST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {LEAST}")
    return int(text)


def set_threads() -> None:
    """Give torch the number of threads too; call it first in ``main`` where torch is used."""
    import torch

    torch.set_num_threads(THREADS)


def medians(forms: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Median seconds of each form; forms take turns, so that other programs slow all alike.

    Before several repetitions comes a call of each that is not counted. One repetition only shows that it runs.
    """
    times: dict[str, list[float]] = {name: [] for name in forms}
    for repetition in range(-1 if repetitions > 1 else 0, repetitions):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            if repetition >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def peak_mb() -> float:
    """The most memory that this process ever held, in MB of 2²⁰ bytes."""
    with suppress(OSError, StopIteration):  # Linux; getrusage would also count the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def report(
    options: argparse.Namespace,
    name: str,
    sizes: Mapping[str, int],
    median: Mapping[str, float],
    ratio: Mapping[str, float],
    packages: tuple[str, ...] = ("numpy", "torch"),
    **more: Any,
) -> None:
    """Print what was measured, as text or as one line of JSON.

    Args:
        median: seconds by form.
        ratio: what is compared, and how many times as long the first named takes.
        more: further facts, such as ``peak_mb``.
    """
    facts = {
        "name": name,
        "threads": THREADS,
        "wait": os.environ["OMP_WAIT_POLICY"].lower(),
        "repetitions": options.repetitions,
        "quick": options.quick,
        "sizes": dict(sizes),
        "median": {form: float(f"{seconds:.4g}") for form, seconds in median.items()},
        "ratio": {form: float(f"{times:.3g}") for form, times in ratio.items()},
        **more,
        "versions": versions(*packages),
    }
    if options.json:
        print(json.dumps(facts))
        return
    listed = ", ".join(f"{number:,} {what}" for what, number in sizes.items())
    print(f"{name}: {listed}" + (" (quick: the times mean nothing)" if options.quick else ""))
    used = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    print(f"  median of {options.repetitions} repetitions, {THREADS} threads, waiting ones sleep; {used}")
    width = max(map(len, [*median, *ratio, *more]))
    for form, seconds in median.items():
        print(f"  {form:{width}}  {seconds:10.4f} s")
    for form, times in ratio.items():
        print(f"  {form:{width}}  {times:10,.1f} ×")
    for what, value in more.items():
        print(f"  {what:{width}}  {value}")
