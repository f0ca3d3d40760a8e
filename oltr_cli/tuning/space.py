"""What a study tries: for each key of a recipe a range of numbers, or a few choices.

Written as on the command line (``--range lambda=0.001:1:log``), in a method's ``search_space``, or in a TOML file::

    "params.lambda" = "0.001:1:log"
    "train.lr.features" = "0.001:0.1:log"
    epochs = "3:10"
    attention = ["none", "spatial", "modulated"]

A key may be cut short where that leaves one meaning: ``lambda`` is ``params.lambda``, ``epochs`` is ``train.epochs``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from oltr_cli.errors import UsageProblem, nearest, several
from oltr_cli.planning.plan import Planned, plan
from oltr_cli.planning.registry import PLUS, list_methods
from oltr_cli.planning.resolve import flatten
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.files import read_toml
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.train import TrainSpec

Value = float | int | str | bool
SHORT = ("params", "detector", "train", "train.lr")  # where a key that is cut short is looked for
FORM = "write KEY=LOW:HIGH, KEY=LOW:HIGH:log, or choices with commas between"


def shown(value: Value | None) -> str:
    """A tried value in four digits."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Dimension:
    """One key and what is tried for it: numbers from ``low`` to ``high``, or ``choices``."""

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    choices: tuple[Value, ...] = ()

    @property
    def name(self) -> str:
        """The last word of the key."""
        return self.key.rpartition(".")[2]

    @property
    def text(self) -> str:
        """As it is typed."""
        if self.choices:
            return ",".join(str(c).lower() if isinstance(c, bool) else str(c) for c in self.choices)
        low, high = (f"{x:g}" if float(f"{x:g}") == x else repr(x) for x in (self.low, self.high))
        return f"{low}:{high}" + (":log" if self.log else "")

    def ends(self) -> list[Value]:
        """The values that a recipe must accept for all between them to be acceptable."""
        return list(self.choices) or [self._number(self.low), self._number(self.high)]

    def holds(self, value: object) -> bool:
        """Whether the search could come upon ``value``."""
        if self.choices:
            return value in self.choices
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high  # type: ignore[operator]

    def _number(self, value: float) -> Value:
        return int(value) if self.integer else value


def assignments(values: Mapping[str, Value]) -> list[str]:
    """The ``--set`` assignments that give a recipe these values."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def check_written(ranges: Sequence[str], file: Path | None) -> None:
    """What can be told of ranges before it is known which keys there are, and so without torch.

    Raises:
        UsageProblem: a range or the file cannot be read.
    """
    for key, given in flatten(read_toml(file)).items() if file else ():
        _dimension(key, given, {}, str(file))
    for text in ranges:
        key, given = _typed(text)
        _dimension(key, given, {}, f"--range {text}")


def read_space(p: Planned, params: Sequence[str], ranges: Sequence[str], file: Path | None) -> tuple[Dimension, ...]:
    """The space that a command line asks for, sorted by key.

    Args:
        p: the method that is tuned, with the current recipe.
        params: keys that are tuned in the range which the method states; none, and nothing else given: all of those.
        ranges: ``KEY=LOW:HIGH[:log]`` or ``KEY=A,B,C``; they go before the file's, and those before the method's.
    Raises:
        UsageProblem: a key that does not exist, or a range that cannot be read or is not known.
    """
    keys, method = _keys(p), p.run.method
    own = {key: _dimension(key, text, keys, f"search_space of {method}") for key, text in p.cls.search_space.items()}
    written: dict[str, Dimension] = {}
    for key, given in flatten(read_toml(file)).items() if file else ():
        dimension = _dimension(_full(key, keys, method), given, keys, str(file))
        written[dimension.key] = dimension
    for text in ranges:
        key, given = _typed(text)
        dimension = _dimension(_full(key, keys, method), given, keys, f"--range {text}")
        written[dimension.key] = dimension
    for word in params:
        key = _full(word, keys, method)
        if key not in written and key not in own:
            known = ", ".join(d.name for d in own.values())
            states = f"{method} has one only for {known}" if known else f"{method} has none"
            raise UsageProblem(f"{word}: no range given, and {states}; add --range {word}=LOW:HIGH")
        written.setdefault(key, own.get(key) or written[key])
    space = written or own
    if not space:
        raise UsageProblem(f"{method} has no ranges of its own; say what to tune: --range KEY=LOW:HIGH")
    return tuple(space[key] for key in sorted(space))


def check_space(space: Iterable[Dimension], method: str, recipe: str, sets: Sequence[str], seed: int) -> None:
    """Try the ends of every range in the recipe.

    Raises:
        UsageProblem: the recipe does not take a value, or it would change the runs that all trials share.
    """
    before = [p.run for p in plan(method, recipe, list(sets), seed)[:-1]]
    problems = []
    for dimension in space:
        for value in dimension.ends():
            try:
                planned = plan(method, recipe, [*sets, *assignments({dimension.key: value})], seed)
            except UsageProblem as problem:
                problems.append(str(problem))
                break
            if [p.run for p in planned[:-1]] != before:
                raise UsageProblem(
                    f"{dimension.key} changes {before[-1].method}, which all trials start from; tune that first: "
                    f"oltr tune {before[-1].method} --range {dimension.key}={dimension.text}"
                )
    if problems:
        raise UsageProblem(several("the search space does not fit the recipe", problems))


def own_values(space: Iterable[Dimension], p: Planned) -> dict[str, Value] | None:
    """The recipe's own values of the tuned keys, for the first trial; None where the search could not come upon one."""
    recipe = flatten(p.link.recipe.as_toml())
    values = {d.key: recipe.get(d.key) for d in space}
    return {k: v for k, v in values.items() if v is not None} if all(d.holds(values[d.key]) for d in space) else None


def _dimension(key: str, given: object, keys: Mapping[str, bool], where: str) -> Dimension:
    """Read a range or choices; ``where`` says in an error who gave it, ``keys`` which keys take whole numbers only."""
    integer = keys.get(key, False)
    if isinstance(given, list):
        return Dimension(key, choices=_choices(given, key, where))
    text = str(given).strip()
    if ":" not in text:
        return Dimension(key, choices=_choices([_parsed(word) for word in text.split(",")], key, where))
    low, _, rest = text.partition(":")
    high, colon, scale = rest.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        raise UsageProblem(f"{where}: '{text}' is not a range; {FORM}") from None
    if colon and scale != "log":
        raise UsageProblem(f"{where}: '{scale}' is not a scale; {FORM}")
    if not all(map(math.isfinite, bounds)) or bounds[0] >= bounds[1]:
        raise UsageProblem(f"{where}: {key} must go from a lower to a higher number, not from {low} to {high}")
    if colon and bounds[0] <= 0:
        raise UsageProblem(f"{where}: {key} on a log scale must start above 0")
    if integer and not all(bound.is_integer() for bound in bounds):
        raise UsageProblem(f"{where}: {key} takes whole numbers, not {low} to {high}")
    return Dimension(key, *bounds, log=bool(colon), integer=integer)


def _typed(text: str) -> tuple[str, str]:
    """The key and what is given for it, of ``KEY=…``."""
    key, equals, given = text.partition("=")
    if not equals or not key.strip():
        raise UsageProblem(f"--range {text}: {FORM}")
    return key.strip(), given


def _choices(given: Sequence[Any], key: str, where: str) -> tuple[Value, ...]:
    if not all(isinstance(choice, str | int | float | bool) for choice in given):
        raise UsageProblem(f"{where}: choices for {key} are plain values, not tables or lists")
    if len(set(given)) < 2 or len(set(given)) < len(given):
        raise UsageProblem(f"{where}: {key} needs two or more different choices; {FORM}")
    return tuple(given)


def _parsed(word: str) -> Value:
    """A choice as typed: a number, true, false, or a word."""
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        return word.strip()


def _keys(p: Planned) -> dict[str, bool]:
    """Every key of the recipe, and whether it takes whole numbers only."""
    if p.is_detector:
        return _fields("detector", p.cls.Params)
    keys = _fields("params", p.cls.Params) | _fields("train", TrainSpec)
    keys |= dict.fromkeys((f"train.lr.{part}" for part in p.link.recipe.train.lr), False)
    return keys | _fields("data", DataSpec) | _fields("backbone", BackboneSpec)


def _fields(section: str, model: type[BaseModel]) -> dict[str, bool]:
    def whole(annotation: Any) -> bool:
        return annotation is int or set(get_args(annotation)) == {int, NoneType}

    return {f"{section}.{info.alias or name}": whole(info.annotation) for name, info in model.model_fields.items()}


def _full(word: str, keys: Mapping[str, bool], method: str) -> str:
    """The whole key of ``method`` that ``word`` means."""
    if word in keys:
        return word
    for prefix in SHORT:
        if f"{prefix}.{word}" in keys:
            return f"{prefix}.{word}"
    methods = list_methods()
    if (named := methods.get(word.partition(PLUS)[0])) is not None:
        on = f" --method {method.partition(PLUS)[0]}" if named.kind == "detector" else ""
        raise UsageProblem(
            f"{word} is a {named.kind}, not a key of {method}; to tune it, name it first: oltr tune {word}{on}"
        )
    known = [*keys, *(key.partition(".")[2] for key in keys), *methods]
    raise UsageProblem(f"no key '{word}' to tune{nearest(word, known)}")
