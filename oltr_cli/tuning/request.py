"""A search as given on the command line, and the meaning of its words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oltr_cli.errors import UsageProblem
from oltr_cli.planning.registry import PLUS, canonical, list_methods

DEFAULT = "dme"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Request:
    """What to search.

    Attributes:
        method: canonical name; ``recipe``: name or file; ``sets``: assignments, as of ``oltr run``.
        params, ranges, space_file: what is tuned; see ``read_space``.
        objective: a metric; None: the F-measure where validation has open images, else accuracy.
        total: trials of the study, by all workers; ``timeout``: seconds after which this worker starts no more.
        database: its address, as Optuna takes it; None: a journal in the runs folder.
    """

    method: str
    recipe: str
    sets: list[str]
    seed: int = 0
    params: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    space_file: Path | None = None
    objective: str | None = None
    prune: bool = True
    total: int = 20
    timeout: float | None = None
    database: str | None = None
    device: str | None = None
    workers: int | None = None
    track: bool = True


def method_and_params(words: Sequence[str], method: str | None, detector: str | None) -> tuple[str, tuple[str, ...]]:
    """The method to tune, by its canonical name, and its keys: the first word may name a method or a detector.

    Raises:
        UsageProblem: there is no such method or detector, or the two do not go together.
    """
    known = list_methods()
    params = tuple(words)
    if words and words[0].partition(PLUS)[0] in known:
        named, params = words[0], tuple(words[1:])
        if PLUS not in named and known[named].kind == "detector" and detector is None:
            if method is None and known[named].starts_from is not None:
                return canonical(named), params
            detector = named
        elif method is not None and method != named:
            raise UsageProblem(f"'{named}' and --method {method} both name what to tune; give one of them")
        else:
            method = named
    method = method or DEFAULT
    return canonical(method if detector is None else f"{method}{PLUS}{detector}"), params


def seconds(text: str) -> float:
    """``90``, ``90s``, ``30m`` or ``1.5h`` in seconds.

    Raises:
        UsageProblem: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageProblem(f"--timeout {text}: write it as 90s, 30m or 2h")
    return float(match[1]) * _UNITS[match[2]]
