"""``--launcher`` and ``--launcher-set``, and the table ``[launcher]`` of the user's configuration file."""

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from oltr_cli.base.files import toml_or_text
from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.recipe.files import read_toml

INSTALL = "pip install 'oltr[cluster]'"
LOCAL, SLURM = "local", "slurm"
# Keys that submitit gives to sbatch under the same names; values as sbatch takes them.
_SBATCH = (
    *("partition", "account", "qos", "gres", "mem", "mem_per_cpu", "mem_per_gpu", "cpus_per_task", "gpus_per_node"),
    *("constraint", "exclude", "nodelist", "exclusive", "comment", "mail_type", "mail_user"),
)
_LOCAL_KEYS = ("time", "signal_delay", "requeues")
_FREE = "sbatch."  # what comes after it is an option of sbatch that has no key here
# What a job's log, its number and its checkpoint depend on, with the key that says the same, if there is one.
_OURS = {
    **{"time": "time", "signal": "signal_delay", "requeue": "requeues", "no_requeue": "requeues", "wait": "wait"},
    **dict.fromkeys(("output", "error", "open_mode", "job_name", "array", "kill_on_invalid_dep", "test_only"), ""),
    **dict.fromkeys(("nodes", "ntasks", "ntasks_per_node"), ""),  # a second process would wait for the first one's run
}
_HOURS = 24  # of a job whose time is not set
_MINUTE, _DAY = 60, 1440


@dataclass(frozen=True)
class Launcher:
    """How jobs are started.

    Attributes:
        count: jobs at once of ``local``; workers of ``oltr tune``.
        sbatch: options of sbatch; ``minutes``: time limit of a job; None: no limit.
        signal_delay: seconds before the end of its time that a job is told to save a checkpoint.
        requeues: how often a job whose time is up is continued.
        setup: shell lines that a job runs first.
        wait: whether the launching process waits for jobs of SLURM.
    """

    kind: Literal["local", "slurm"]
    count: int | None = None
    sbatch: dict[str, Any] = field(default_factory=dict)
    minutes: int | None = None
    signal_delay: int = 120
    requeues: int = 100
    setup: tuple[str, ...] = ()
    wait: bool = True


def read_launcher(text: str, sets: Sequence[str], *, workers: bool = False) -> Launcher:
    """The launcher that the options name, with the settings of the configuration file below those of the command line.

    Args:
        workers: it starts workers of one study, so their number has to be known.
    Raises:
        UsageProblem: there is no such launcher or setting, a value does not fit, or submitit is missing.
    """
    kind, _, number = text.partition(":")
    if kind not in (LOCAL, SLURM):
        raise UsageProblem(
            f"--launcher {text}: write local:N, such as local:4, or slurm{nearest(kind, (LOCAL, SLURM))}"
        )
    if number and (not number.isdecimal() or int(number) < 1):
        raise UsageProblem(f"--launcher {text}: {number} is no number of jobs; write {kind}:N, such as {kind}:4")
    if not number and (kind == LOCAL or workers):
        raise UsageProblem(f"--launcher {text}: how many? write {kind}:N, such as {kind}:4")
    if number and kind == SLURM and not workers:
        raise UsageProblem(f"--launcher {text}: SLURM decides how many jobs run at once; write slurm")
    _require_submitit()
    given = [(f"--launcher-set {one}", *_parsed(one)) for one in sets]
    if kind == SLURM:
        file = config_file()
        given = [(f"{file}: [launcher] {key}", key, value) for key, value in _table(file).items()] + given
        given = [("", "time", _HOURS * _MINUTE), *given]
    settings: dict[str, Any] = {}
    for where, key, value in given:
        _take(settings, where, key, value, kind)
    launcher = Launcher(kind, int(number) if number else None, **settings)  # type: ignore[arg-type]  # checked above
    if launcher.minutes is not None and 60 * launcher.minutes <= launcher.signal_delay:
        raise UsageProblem(
            f"--launcher-set: the time of a job, {launcher.minutes} min, is not longer than signal_delay, the "
            f"{launcher.signal_delay} s before its end at which it saves a checkpoint; raise time or lower signal_delay"
        )
    return launcher


def config_file() -> Path:
    """``$OLTR_CONFIG``, or ``oltr/config.toml`` in the user's folder of configuration files, which need not exist."""
    if named := os.environ.get("OLTR_CONFIG"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "oltr" / "config.toml"


def minutes(text: object) -> int:
    """A time limit as sbatch takes it, in minutes, rounded up: ``90``, ``30:00``, ``8:00:00``, ``2-12`` or
    ``1-00:00:00``.

    Raises:
        ValueError: it is none of these, or no time at all.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(text).strip())
    if found is None:
        raise ValueError(str(text))
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    whole = (60 * _MINUTE, 60, 1)  # hours, minutes, seconds
    units = whole if days is not None or len(numbers) == 3 else whole[1:]
    seconds = 60 * _DAY * int(days or 0) + sum(n * unit for n, unit in zip(numbers, units, strict=False))
    if not seconds:
        raise ValueError(str(text))
    return -(-seconds // 60)


def _require_submitit() -> None:
    if importlib.util.find_spec("submitit") is None:
        raise UsageProblem(f"--launcher needs submitit: {INSTALL}")


def _parsed(assignment: str) -> tuple[str, Any]:
    key, equals, text = (part.strip() for part in assignment.partition("="))
    if not equals or not key or not text:
        raise UsageProblem(f"--launcher-set {assignment}: write it as KEY=VALUE, for example partition=gpu")
    if key.startswith(_FREE):
        return key, {"true": True, "false": False}.get(text, text)  # true: one without a value
    if key in ("time", "gres", "comment"):
        return key, text  # 1-00:00:00 and gpu:1 are not TOML
    key = key.replace("-", "_")
    try:
        return key, toml_or_text(text)
    except ValueError:
        raise UsageProblem(f"--launcher-set {assignment}: the value is not valid TOML") from None


def _table(file: Path) -> Mapping[str, Any]:
    if not file.exists():
        if named := os.environ.get("OLTR_CONFIG"):
            raise UsageProblem(f"OLTR_CONFIG={named}: there is no such file")
        return {}
    content = read_toml(file)
    if unknown := [key for key in content if key != "launcher"]:
        raise UsageProblem(f"{file}: unknown table [{unknown[0]}]{nearest(unknown[0], ['launcher'])}")
    table = content.get("launcher", {})
    if not isinstance(table, dict):
        raise UsageProblem(f"{file}: [launcher] must be a table")
    free = table.get("sbatch", {})
    if not isinstance(free, dict):
        raise UsageProblem(f"{file}: [launcher.sbatch] must be a table")
    rest = {key: value for key, value in table.items() if key != "sbatch"}
    return {**rest, **{f"{_FREE}{key}": value for key, value in free.items()}}


def _take(settings: dict[str, Any], where: str, key: str, value: Any, kind: str) -> None:
    """Put one setting into the fields of ``Launcher``."""
    if key == "time":
        try:
            settings["minutes"] = minutes(value)
        except ValueError:
            raise UsageProblem(f"{where}: write a time as 90 (minutes), 8:00:00 or 2-12:00:00") from None
    elif key in ("signal_delay", "requeues"):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageProblem(f"{where}: must be a whole number, 0 or more")
        settings[key] = value
    elif kind == LOCAL:
        raise UsageProblem(f"{where}: local jobs have no setting '{key}'{nearest(key, _LOCAL_KEYS)}")
    elif key == "setup":
        lines = [value] if isinstance(value, str) else value
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise UsageProblem(f"{where}: must be a line of shell, or a list of lines")
        settings["setup"] = tuple(lines)
    elif key == "wait":
        if not isinstance(value, bool):
            raise UsageProblem(f"{where}: must be true or false")
        settings["wait"] = value
    elif key in _SBATCH or re.fullmatch(rf"{re.escape(_FREE)}[a-zA-Z][\w-]*", key):
        _check_option(where, key, value)
        settings.setdefault("sbatch", {})[key.removeprefix(_FREE)] = value
    else:
        known = (*_SBATCH, *_LOCAL_KEYS, "setup", "wait")
        other = f"{_FREE}{key.replace('_', '-')}"
        raise UsageProblem(f"{where}: no setting '{key}'{nearest(key, known)}; another option of sbatch is {other}")


def _check_option(where: str, key: str, value: Any) -> None:
    """Refuse an option of sbatch that a job depends on, and a value that none can have."""
    option = key.removeprefix(_FREE).replace("-", "_")
    if (ours := _OURS.get(option)) is not None:
        raise UsageProblem(f"{where}: oltr sets this option{f'; use the key {ours}' if ours else '; leave it out'}")
    with_value = option in _SBATCH and option != "exclusive"
    if isinstance(value, dict | list) or (isinstance(value, bool) and with_value):
        raise UsageProblem(f"{where}: must be a text or a number, as sbatch takes it")
