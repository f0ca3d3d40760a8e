"""How the costs of runs are printed: what is left of each, the sums, and where the rates are from."""

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.pipeline.estimates import Costs

NO_RATE = "time is left out: it takes --probe (20 steps of each kind of run) or --rate IMAGES_PER_SECOND"
SOME_RATES = "time: no finished run tells that of the rows with ?; --probe measures it (20 steps of each kind of run)"


def left_as_json(costs: "Costs") -> list[dict[str, Any]]:
    """What is left of each run."""
    return [
        {
            "steps_left": e.steps,
            "images": e.images,
            "trained_on": e.feed,
            "scored_images": e.scored,
            "bytes": dict(e.disk),
            "bytes_left": e.more,
            "seconds": seconds,
            "rate": vars(rate) if rate else None,
        }
        for e, rate, seconds in zip(costs.estimates, costs.rates, costs.seconds, strict=True)
    ]


def total(costs: "Costs") -> dict[str, Any]:
    """The sums; seconds are None if the time of any run is not known."""
    kinds: Counter[str] = Counter()
    for e in costs.estimates:
        kinds.update(e.disk)
    if costs.store:
        kinds["pixel store"] = costs.store
    times = costs.seconds
    return {
        "runs_left": sum(e.status != "done" for e in costs.estimates),
        "steps": sum(e.steps for e in costs.estimates),
        "images": sum(e.images for e in costs.estimates),
        "scored_images": sum(e.scored for e in costs.estimates),
        "bytes": dict(kinds),
        "bytes_left": costs.more,
        "bytes_free": costs.free,
        "seconds": None if None in times else sum(filter(None, times)),
    }


def show(costs: "Costs", display: "Display") -> None:
    """Print what is left of each run, and the sums."""
    from rich import box
    from rich.table import Table

    from oltr_cli.base.display import SafeConsole, duration
    from oltr_cli.base.text import amount

    sums, times = total(costs), costs.seconds
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("left to do", ""):
        table.add_column(name, no_wrap=True)
    for name in ("steps", "trained on", "scored", "disk", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for e, seconds in zip(costs.estimates, times, strict=True):
        if e.status == "done":
            table.add_row(e.run.name, "done")
            continue
        time = "?" if seconds is None else duration(seconds)
        of = "images" if e.feed == "images" else "features"
        trained = f"{e.images:,} {of}" if e.images else "–"
        table.add_row(e.run.name, e.status, f"{e.steps:,}", trained, f"{e.scored:,}", amount(e.more), time)
    if len(times) > 1:
        time = "?" if sums["seconds"] is None else duration(sums["seconds"])
        counts = (f"{sums[key]:,}" for key in ("steps", "images", "scored_images"))
        table.add_section()
        table.add_row("one after another", "", *counts, amount(sums["bytes_left"]), time)
    width = SafeConsole(width=10_000).measure(table).maximum
    SafeConsole(width=max(width, SafeConsole().width)).print(table, crop=False)
    kinds = ", ".join(f"{kind} {amount(size)}" for kind, size in sums["bytes"].items())
    if kinds:
        print(f"disk: {kinds}; {amount(costs.free)} free")
    for line in _sources(costs):
        print(line)
    if sums["bytes_left"] > costs.free:
        display.warn(f"the runs need {amount(sums['bytes_left'])} and {amount(costs.free)} are free; set OLTR_RUNS")


def _sources(costs: "Costs") -> list[str]:
    """Where the rates are from, and a hint if there are none."""
    sources: dict[str, None] = dict.fromkeys(rate.source for rate in costs.rates if rate is not None)
    lines = [f"time: {source}" for source in sources]
    if None not in costs.seconds:
        return lines
    return [*lines, SOME_RATES if sources else NO_RATE]
