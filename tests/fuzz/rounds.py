"""Rounds of the fuzzer: a command on a folder of real runs and lists, of which a file may be damaged; then all is put
back. Every command runs in this process, so that a traceback is an exception and a hang is an alarm.
"""

import json
import os
import random
import re
import shutil
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oltr_cli.runs.class_names import write_class_names
from oltr_cli.runs.result import read_result
from tests.fuzz.inputs import command, damaged
from tests.helpers.finished_runs import environment
from tests.helpers.in_process import oltr_here
from tests.helpers.tiny import TINY_RECIPE, make_tiny_dataset

PATIENCE = 120  # seconds for one command
CODES = {0, 1, 2, 3, 4}
TIME = re.compile(r"\d{4}-\d\d-\d\d.\d\d:\d\d(:\d\d)?")
READ_BACK = (".pt", ".npz", ".json", ".toml", ".jsonl")  # all with check sums


@dataclass(frozen=True)
class Fault:
    """What went wrong in one round: enough to type it again."""

    round: int
    arguments: list[str]
    damage: str
    what: str

    def __str__(self) -> str:
        typed = " ".join(f"{argument!r:.200}" for argument in self.arguments)
        return f"round {self.round}: oltr {typed} ({self.damage or 'nothing damaged'})\n{self.what}"


def campaign(home: Path, rounds: int, seed: int) -> Iterator[Fault]:
    """Play ``rounds`` rounds in the empty folder ``home``; round n of a seed is the same however many there are."""
    with _prepared(home) as real:
        whole = home.parent / f"{home.name}-whole"
        shutil.copytree(home, whole)
        files = sorted(p.relative_to(home) for p in home.rglob("*") if p.is_file() and _worth_damaging(p))
        for number in range(rounds):
            rng = random.Random(f"{seed} {number}")
            victim = rng.choice(files) if rng.random() < 0.6 else None
            if victim is not None:
                content = (home / victim).read_bytes()
                (home / victim).write_bytes(damaged(rng, content, victim.suffix))
            arguments = command(rng, real, home / "out")
            what = _fault(arguments)
            if what:
                yield Fault(number, arguments, str(victim or ""), what)
            _put_back(whole, home)


def flips(home: Path, rounds: int, seed: int) -> Iterator[Fault]:
    """Single flipped bits in what runs leave: a command names the file, leaves the run out, or answers as before.

    Every file that is read back has its turn with every command, in an order drawn from the seed.
    """
    with _prepared(home) as real:
        run, image, page = real["run"][0], real["image"][0], home / "page.html"
        outcome = read_result(home / "runs" / run)
        write_class_names(home / "runs" / "tiny", {outcome.data_digest or "": [f"kind {n}" for n in range(5)]})
        commands = (
            ["predict", run, image, "--json", "--device", "cpu"],
            ["predict", "energy", image, "--json", "--device", "cpu"],
            ["evaluate", run, "--json"],
            ["compare", "--dataset", "tiny", "--json"],
            ["ls", "runs", "--json"],
            ["report", "--dataset", "tiny", "--out", str(page)],
            ["export", run, "--out", str(home / "network.onnx"), "--json"],
        )

        def answer(arguments: list[str]) -> tuple[int, str, str]:
            page.unlink(missing_ok=True)
            code, out, err = oltr_here(*arguments)
            return code, TIME.sub("", out + (page.read_text() if page.exists() else "")), err

        answers = [answer(arguments) for arguments in commands]
        assert not any(code for code, _, _ in answers), [err for _, _, err in answers]
        files = sorted(p for p in (home / "runs").rglob("*") if p.suffix in READ_BACK)
        turns = [(file, number) for file in files for number in range(len(commands))]
        random.Random(f"{seed} turns").shuffle(turns)
        for number in range(rounds):
            rng = random.Random(f"{seed} flip {number}")
            file, which = turns[number % len(turns)]
            arguments, content, written = commands[which], file.read_bytes(), file.stat()
            # A flipped bit in the word before a recipe's digest makes it a comment, which the page shows as it is.
            end = content.rindex(b"# digest") if file.suffix == ".toml" else len(content)
            place, bit = rng.randrange(end), rng.randrange(8)
            file.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            try:
                with _alarm():
                    got = answer(arguments)
            except BaseException:
                got = (-1, "", traceback.format_exc())
            file.write_bytes(content)
            os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))
            damage = f"{file.parent.name}/{file.name}, bit {bit} of byte {place}"
            if got[0] not in CODES or "Traceback" in got[2]:
                yield Fault(number, arguments, damage, got[2])
            elif got[0] == 0 and got[1] != answers[which][1] and not _tells_of_damage(got[1] + got[2]):
                yield Fault(number, arguments, damage, "used silently")


def _tells_of_damage(said: str) -> bool:
    return any(word in said for word in ("damaged", "not valid TOML", "cannot be read"))


@contextmanager
def _prepared(home: Path) -> Iterator[dict[str, list[str]]]:
    """Runs, lists and score files in ``home``, which is the current folder meanwhile."""
    home.mkdir(parents=True, exist_ok=True)
    patch = environment(home)
    tiny = make_tiny_dataset(home / "data" / "tiny")
    recipe = home / "tiny.toml"
    recipe.write_text(TINY_RECIPE.replace("epochs = 3", "epochs = 1"))
    patch.chdir(home)
    try:
        for more in ((), ("--detector", "energy")):
            code, _, err = oltr_here("run", "plain", "--recipe", recipe, *more, "--workers", 0, "-q", "--device", "cpu")
            assert code == 0, err
        code, _, err = oltr_here("tune", "threshold", "--dataset", "tiny", "--method", "plain")
        assert code == 0, err
        (run,) = (home / "runs" / "tiny" / "plain").iterdir()
        shutil.copy(run / "scores" / "test.npz", home / "scores.npz")
        np.savetxt(home / "counts.txt", [24, 12, 6, 2, 1], fmt="%d")
        (home / "counts.json").write_text(json.dumps([24, 12, 6, 2, 1]))
        yield {
            "run": [f"tiny/plain/{run.name}", str(run), "energy"],
            "recipe": [str(recipe), "glyphs-lt", "tiny.toml"],
            "own": [str(recipe)],
            "method": ["plain", "dme", "plain+energy", "msp"],
            "npz": [str(home / "scores.npz"), "scores.npz"],
            "list": [str(home / "counts.txt"), "counts.json"],
            "image": [str(tiny / "test" / "c1" / "0.png"), str(tiny / "test" / "c0")],
        }
    finally:
        patch.undo()


def _worth_damaging(file: Path) -> bool:
    return file.suffix in (".json", ".jsonl", ".toml", ".txt", ".pt", ".npz", ".lock") and "cache" not in file.parts


def _fault(arguments: list[str]) -> str:
    """What is wrong with how a command ends; empty where it ends as it should."""
    try:
        with _alarm():
            code, out, err = oltr_here(*arguments)
    except TimeoutError:
        return f"no end within {PATIENCE} s"
    except BaseException:
        return traceback.format_exc()
    if "Traceback (most recent call last)" in err:
        return err[-3000:]
    if code not in CODES:
        return f"exit code {code}\n{err[-1000:]}"
    if code and not ("error" in err.lower() or "warning" in err.lower() or "Usage" in err or out):
        return f"exit code {code} without a word: {err[-500:]!r}"
    if code == 0 and "--json" in arguments:
        try:
            json.loads(out)
        except ValueError:
            return f"--json printed no JSON: {out[:300]!r}"
    return ""


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _put_back(whole: Path, home: Path) -> None:
    """Every file of ``home`` as it was; what a command made is removed."""
    for file in [p for p in home.rglob("*") if not p.is_dir() or p.is_symlink()]:
        original = whole / file.relative_to(home)
        if not original.exists():
            if "cache" not in file.parts:
                file.unlink()
        elif file.stat().st_size != original.stat().st_size or file.stat().st_mtime_ns != original.stat().st_mtime_ns:
            shutil.copy2(original, file)
    for file in whole.rglob("*"):
        target = home / file.relative_to(whole)
        if not target.exists():
            target.mkdir() if file.is_dir() else shutil.copy2(file, target)
    for folder in sorted((p for p in home.rglob("*") if p.is_dir()), reverse=True):
        if not (whole / folder.relative_to(home)).exists() and "cache" not in folder.parts:
            shutil.rmtree(folder, ignore_errors=True)
    os.chdir(home)
