"""Kills of jobs, their commands and the launching process while a table is made: no run lost, none made twice.

``python -m tests.fuzz.launcher --kills 40 --seed 1``; the suite has a short round. A table of 8 rows is made by
``compare --run --launcher local:2`` again and again, until the command ends well; then it is compared with one that
nobody disturbed, and the next table is begun, until there were enough kills.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from oltr_cli.base.files import read_json
from tests.fuzz.by_hand import tell
from tests.helpers.outcomes import assert_equal, outcome_of
from tests.helpers.tiny import TINY_RECIPE, Oltr, make_tiny_dataset

ROWS = ("plain", "crt", "tau-norm", "balanced-softmax", "dme", "ncm", "plain+energy", "dme+energy")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LOOK = 0.05  # seconds
COMMANDS = 60  # for one table: more would mean that it makes no progress


def kills(home: Path, count: int, seed: int, rows: tuple[str, ...] = ROWS) -> Iterator[str]:
    """What is wrong after each kill and each table, after ": "; nothing where all is well."""
    make_tiny_dataset(home / "data" / "tiny")
    (home / "tiny.toml").write_text(TINY_RECIPE)
    options = ("--recipe", home / "tiny.toml", "--methods", ",".join(rows), "--run", "--device", "cpu", "--json")
    command = ("compare", "--table", "3a", *options)
    unbroken = Oltr(home / "unbroken", home / "data")
    began = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(unbroken.command(*command), env=unbroken.env, check=True, **quiet)
    wanted, pause = _outcomes(unbroken.runs), max(1.0, 2 * (time.monotonic() - began) / len(rows))
    rng = random.Random(seed)
    done = table = 0
    while done < count:
        oltr = Oltr(home / f"runs-{table}", home / "data")
        watch = _Watch(oltr.runs)
        for attempt in range(COMMANDS):
            killed, code, said = _once(oltr, (*command, "--launcher", "local:2"), watch, rng, pause, count - done)
            done += len(killed)
            yield from (f"table {table}, {what}" for what in killed)
            # Python itself prints one if it is interrupted while it starts.
            trace = "Traceback" in said and not any(what.endswith("the launching process") for what in killed)
            if trace or (code and not killed and (attempt == COMMANDS - 1 or not watch.killed)):
                yield f"table {table}, exit code {code}: {said[-2000:]}"
                break
            if code == 0:
                break
        _wait_for_jobs(oltr.runs)
        watch.look()
        yield f"table {table}{_fault(oltr.runs, wanted, watch)}"
        shutil.rmtree(oltr.runs, ignore_errors=True)
        table += 1


class _Watch:
    """Which results there were: one that is written again was made twice."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.killed = runs, False
        self.seen: dict[Path, tuple[int, int]] = {}
        self.twice: set[Path] = set()

    def look(self) -> None:
        for path in self.runs.glob("*/*/*-s*/result.json"):
            with suppress(OSError):
                about = path.stat()
                if (read_json(path) or {}).get("status") != "done":
                    continue
                if self.seen.setdefault(path, (about.st_ino, about.st_mtime_ns)) != (about.st_ino, about.st_mtime_ns):
                    self.twice.add(path)


def _once(
    oltr: Oltr, command: tuple[object, ...], watch: _Watch, rng: random.Random, pause: float, most: int
) -> tuple[list[str], int, str]:
    """Start the command, and kill processes of it at random moments: what was killed, exit code, what it said."""
    log = oltr.runs.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(
            oltr.command(*command), env=oltr.env, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )
        end = time.monotonic() + rng.uniform(0, 2) * pause
        killed: list[str] = []
        while process.poll() is None:
            time.sleep(LOOK)
            watch.look()
            if len(killed) < most and time.monotonic() > end:
                end = time.monotonic() + rng.uniform(0, 2) * pause
                what, pid = rng.choice(_processes(oltr.runs, process.pid))
                sent = rng.choice(SIGNALS)
                with suppress(ProcessLookupError):
                    os.kill(pid, sent)
                    killed.append(f"{sent.name} to {what}")
                    watch.killed = True
    return killed, process.returncode, log.read_text()


def _processes(runs: Path, launching: int) -> list[tuple[str, int]]:
    """The launching process, and of each job: submitit's two processes and the command."""
    found = [("the launching process", launching)]
    for path in runs.rglob("job.json"):
        job = read_json(path) or {}
        if not (controller := int(job.get("id", 0))) or not _alive(controller):
            continue
        found.append((f"the controller of {job['name']}", controller))
        found += [(f"the job of {job['name']}", pid) for pid in _children(controller)]
        progress = read_json(path.with_name("progress.json")) or {}
        if (pid := progress.get("pid")) and _alive(pid):
            found.append((f"the command of {job['name']}", pid))
    return found


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _wait_for_jobs(runs: Path) -> None:
    """A launching process that was killed leaves its jobs; they end before the table is looked at."""
    for _ in range(6000):
        if len(_processes(runs, 0)) == 1:
            return
        time.sleep(LOOK)


def _outcomes(runs: Path) -> dict[str, tuple]:
    """What each run ended with; of a detector, the metrics alone."""
    found = {}
    for path in sorted(runs.glob("*/*/*-s*/result.json")):
        run = path.parent
        whole = (run / "last.pt").exists() and (run / "metrics.jsonl").exists()
        found[str(run.relative_to(runs))] = outcome_of(run) if whole else (read_json(path)["metrics"],)
    return found


def _fault(runs: Path, wanted: dict[str, tuple], watch: _Watch) -> str:
    if watch.twice:
        return f": made twice: {', '.join(map(str, watch.twice))}"
    there = _outcomes(runs)
    if missing := wanted.keys() - there.keys():
        return f": lost: {', '.join(missing)}"
    for name, outcome in wanted.items():
        try:
            if len(outcome) > 1:
                assert_equal(there[name], outcome)
            else:
                assert there[name] == outcome
        except AssertionError as error:
            return f": {name} has other bits: {str(error)[:300]}"
    if stray := [*runs.glob("*/*/*/.*.tmp"), *runs.glob("*/*/*/*/.*.tmp")]:
        return f": left over: {stray}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.launcher", description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tell(kills(Path(folder), options.kills, options.seed), f"{options.kills} kills of seed {options.seed}")


if __name__ == "__main__":
    main()
