"""MLflow killed while it makes its store: whenever that was, the next command tracks and ``oltr ui`` finds the store.

``python -m tests.fuzz.mlflow_starts --every 0.1 --moments 40`` kills a first run a tenth of a second later each time,
counted from the moment at which MLflow is imported and its lock appears.
"""

import argparse
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.fuzz.by_hand import tell
from tests.helpers.tiny import TINY_RECIPE, Oltr, make_tiny_dataset

PATIENCE = 600.0  # seconds until MLflow is imported, on a busy machine


def starts(home: Path, moments: int, every: float) -> Iterator[str]:
    """What is wrong after a kill at each of ``moments``, ``every`` seconds apart; the fault, if any, after ": "."""
    make_tiny_dataset(home / "data" / "tiny")
    (home / "tiny.toml").write_text(TINY_RECIPE.replace("epochs = 3", "epochs = 1"))
    command = ("run", "plain", "--recipe", home / "tiny.toml", "--workers", 0, "--device", "cpu")
    for number in range(moments):
        oltr = Oltr(home / f"runs-{number}", home / "data")
        oltr.env |= {"OLTR_TRACKING": "on"}
        oltr.env.pop("MLFLOW_TRACKING_URI", None)
        process = oltr.start(*command)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None and not list(oltr.runs.glob(".mlflow*")):
            time.sleep(0.01)
        time.sleep(number * every)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        made = sorted(path.name for path in oltr.runs.glob("*mlflow*"))
        yield f"{number * every:.1f} s, {' '.join(made) or 'no store'}: {_fault(oltr, command)}".removesuffix(": ")
        shutil.rmtree(oltr.runs, ignore_errors=True)


def _fault(oltr: Oltr, command: tuple[object, ...]) -> str:
    done, shown = oltr(*command, check=None), oltr("ui", "--dry-run", check=None)
    for one in (done, shown):
        if one.returncode or "Traceback" in one.stderr or "not tracked" in one.stderr:
            return f"exit code {one.returncode}\n{one.stderr[-2000:]}"
    with closing(sqlite3.connect(oltr.runs / "mlflow.db")) as store:
        states = [state for (state,) in store.execute("SELECT status FROM runs")]
    if "FINISHED" not in states or "RUNNING" in states:
        return f"the store has runs {states}"
    left = [path.name for path in oltr.runs.glob(".mlflow.db.*")]
    return f"left over: {left}" if left else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.mlflow_starts", description=__doc__)
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--every", type=float, default=0.1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tell(starts(Path(folder), options.moments, options.every), f"{options.moments} moments")


if __name__ == "__main__":
    main()
