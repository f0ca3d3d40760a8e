"""Kills at random moments of a tiny training: the same command afterwards ends in the same bits, and leaves nothing.

``python -m tests.fuzz.kills --kills 60 --seed 1``; the suite has two.
"""

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.fuzz.by_hand import tell
from tests.helpers.outcomes import assert_equal, outcome_of, run_dir
from tests.helpers.tiny import TINY_RECIPE, Oltr, make_tiny_dataset

PLOTS = {
    *("accuracy-by-class-frequency", "confidence", "group-confusion"),
    *("rejection", "reliability", "threshold", "training"),
}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def kills(home: Path, count: int, seed: int) -> Iterator[str]:
    """What is wrong after each of ``count`` kills, each in a run of its own; empty where nothing is."""
    make_tiny_dataset(home / "data" / "tiny")
    (home / "tiny.toml").write_text(TINY_RECIPE)
    command = ("run", "plain", "--recipe", home / "tiny.toml", "--workers", 0, "--device", "cpu")
    unbroken = Oltr(home / "unbroken", home / "data")
    began = time.monotonic()
    unbroken(*command)
    whole, wanted = time.monotonic() - began, outcome_of(run_dir(unbroken, "plain"))
    rng = random.Random(seed)
    for number in range(count):
        oltr = Oltr(home / f"runs-{number}", home / "data")
        process = oltr.start(*command)
        # Half of them after the first checkpoint: most of the time goes into imports.
        if number % 2:
            _wait_for_checkpoint(oltr, process, 2 * whole + 60)
            time.sleep(rng.uniform(0, 0.4) * whole)
        else:
            time.sleep(rng.uniform(0, 1.1) * whole)
        sent = rng.choice(SIGNALS)
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, sent)
        _, err = process.communicate(timeout=120)
        done = oltr(*command, check=None)
        yield f"kill {number}, {sent.name}: {_fault(oltr, done.returncode, err + done.stderr, wanted)}".removesuffix(
            ": "
        )
        shutil.rmtree(oltr.runs, ignore_errors=True)


def _fault(oltr: Oltr, code: int, err: str, wanted: tuple) -> str:
    if code or "Traceback" in err:
        return f"exit code {code}\n{err[-2000:]}"
    folder = run_dir(oltr, "plain")
    try:
        assert_equal(outcome_of(folder), wanted)
    except AssertionError as error:
        return f"other bits: {str(error)[:500]}"
    if stray := [*folder.rglob(".*.tmp"), *folder.rglob("*.new.pt")]:
        return f"left over: {stray}"
    if missing := PLOTS - {path.stem for path in (folder / "plots").glob("*.png")}:
        return f"no plots: {missing}"
    return ""


def _wait_for_checkpoint(oltr: Oltr, process, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None and not any(oltr.runs.glob("*/*/*/last.pt")):
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        what = f"{options.kills} kills of seed {options.seed}"
        tell(kills(Path(folder), options.kills, options.seed), what)


if __name__ == "__main__":
    main()
