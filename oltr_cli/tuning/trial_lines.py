"""A study's trials as lines, printed as they end."""

from collections.abc import Mapping

from rich.markup import escape

from oltr_cli.base.display import duration
from oltr_cli.tuning.about import About
from oltr_cli.tuning.space import Value

VALUE = 15  # width of the objective's column


def header(about: About) -> str:
    """The head of the lines."""
    names = " ".join(f"{d.name:>{_width(d.name)}}" for d in about.space)
    return f"[dim]{'trial':>5} {names} {about.objective.partition('/')[2]:>{VALUE}} {'τ':>8} {'time':>7}[/]"


def line(
    about: About,
    number: int,
    values: Mapping[str, Value],
    value: float | None,
    tau: float | None,
    seconds: float,
    remark: str = "",
) -> str:
    """One trial; without a value, ``remark`` says why."""
    tried = " ".join(f"{escape(shown(values[d.key])):>{_width(d.name)}}" for d in about.space)
    result = f"{'–' if value is None else f'{value:.4f}':>{VALUE}} {'–' if tau is None else f'{tau:.4f}':>8}"
    return f"{number:>5} {tried} {result} {duration(seconds):>7}  {remark}".rstrip()


def shown(value: Value | None) -> str:
    """A tried value in four digits."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _width(name: str) -> int:
    return max(9, len(name))
