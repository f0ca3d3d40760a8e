"""The tables of a report as HTML: the paper's laid over the runs, all numbers, runs that go on, how runs were made."""

from html import escape

from oltr_cli.base.display import duration, percent
from oltr_cli.protocol.catalogue import metric
from oltr_cli.report.content import Finished, Report, Unfinished
from oltr_cli.report.markup import Td, Th, facts, number, sortable, text
from oltr_cli.tables import text as words
from oltr_cli.tables.filled import FilledRow, FilledTable


def unfinished(runs: tuple[Unfinished, ...]) -> str:
    """Runs without a result: how far they are."""
    heads = [
        Th("run", False),
        Th("status", False),
        Th("epoch"),
        Th("loss"),
        Th("val. accuracy, %"),
        Th("time an epoch"),
    ]
    rows = []
    for one in runs:
        validation, loss, seconds = (one.last.get(key) for key in ("val/closed/overall", "loss", "seconds"))
        share = one.epoch / one.epochs if one.epochs else 0.0
        bar = f'<progress max="1" value="{share:.3f}" aria-hidden="true"></progress>' if one.epochs else ""
        error = f'<br><small class="problem">{escape(one.error)}</small>' if one.error else ""
        rows.append(
            [
                text(one.run.name),
                Td(f'<span class="status {escape(one.status)}">{escape(one.status)}</span>{error}', one.status),
                Td(f"{one.epoch} of {one.epochs or '?'} {bar}", one.epoch),
                number(loss, None if loss is None else f"{loss:.3f}"),
                number(validation, percent(validation)),
                number(seconds, None if seconds is None else duration(seconds)),
            ]
        )
    return sortable("unfinished", "Runs without a result, by their files.", heads, rows, "Filter runs")


def paper_table(filled: FilledTable, place: int) -> str:
    """A table of the paper: measured mean ± std, the paper's figure below it."""
    columns = filled.table.columns
    heads = [Th("method", False)]
    heads += [
        Th(
            escape(column.name),
            title=f"{column.metric}, {column.unit}{', lower is better' if column.better == 'lower' else ''}"
            + (f", {column.bounds}" if column.bounds else ""),
            group=column.group,
        )
        for column in columns
    ]
    heads += [Th("seeds"), Th("τ"), Th("training", title="of one seed, with the runs that it starts from")]
    heads.append(Th("group", False))
    rows = [_table_row(filled, row) for row in filled.grid]
    caption = (
        f"{escape(words.title(filled))} Measured mean ± standard deviation over the seeds; below it the paper’s figure"
        f"{' and the difference to it' if filled.comparable else ''}."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in words.remarks(filled))
    return sortable(f"table-{place}", caption, heads, rows, "Filter rows") + (
        f'<ul class="notes">{notes}</ul>' if notes else ""
    )


def _table_row(filled: FilledTable, row: FilledRow) -> list[Td]:
    missing = ""
    if row.status == "missing":
        missing = f"<small>{f'<code>{escape(row.command)}</code>' if row.command else 'no run'}</small>"
    elif row.status != "measured":
        missing = f"<small>{'see the notes' if row.status == 'left_out' else 'not in this version'}</small>"
    cells = [Td(f"{escape(row.label)}{missing}", row.label)]
    for i, cell in enumerate(row.cells):
        shown, std, best = words.measured(filled, row, i)
        printed, delta = words.paper(cell), words.difference(filled, cell, i)
        # The caption says whose figure it is; told, as the word would make eight columns too wide for a screen.
        below = f'<span class="told">paper </span>{escape(printed)}' if printed else ""
        below += f" ({escape(delta)})" if printed and delta else ""
        html = escape(shown) + (f" <span class=std>± {escape(std)}</span>" if std else "")
        cells.append(Td(f"{html}<small>{below}</small>" if below else html, cell.mean, best))
    seeds, taus = row.seeds, row.thresholds
    cells.append(number(len(seeds) or None, ", ".join(map(str, seeds)) if len(seeds) < 6 else f"{len(seeds)} of them"))
    tau = None if not taus else ", ".join(dict.fromkeys(f"{value:.4g}" for value in taus[:4]))
    rule = f'<small class="rule">{escape(row.threshold_rule or "").replace(":", ":<wbr>")}</small>' if taus else ""
    cells.append(Td(f"{escape(tau)}{rule}", taus[0]) if tau is not None else Td("–", None))
    cells.append(number(row.seconds, None if row.seconds is None else duration(row.seconds)))
    return [*cells, text(row.spec.heading or "the paper’s")]


def all_numbers(report: Report) -> str:
    """Every metric of every run."""
    heads = [Th("run", False), Th("seed")]
    heads += [Th(_metric_head(name), title=f"{name}, {metric(name).unit}") for name in report.metrics]
    best = {}
    for name in report.metrics:
        values = {one.metrics[name] for one in report.finished if name in one.metrics}
        if len(values) > 1:
            best[name] = min(values) if metric(name).better == "lower" else max(values)
    rows = []
    for one in report.finished:
        label = f"{one.run.method}/{one.run.hash}-s{one.run.seed}"
        row = [Td(f'<a href="#one-run" data-run="{escape(one.run.name)}">{escape(label)}</a>', label)]
        row.append(number(one.run.seed))
        for name in report.metrics:
            value = one.metrics.get(name)
            cell = number(value, None if value is None else metric(name).shown(value))
            row.append(Td(cell.html, cell.value, value is not None and best.get(name) == value))
        rows.append(row)
    caption = "Every run at its own τ. Accuracies and rates in percent; F-measures and areas as fractions."
    return sortable("all-numbers", caption, heads, rows, "Filter runs")


def _metric_head(name: str) -> str:
    half, _, rest = name.partition("/")
    return f"<small>{escape(half)}</small>{escape(rest.replace('_', ' '))}"


def made(runs: tuple[Finished, ...]) -> str:
    """Seeds, commit, hardware and time of each run, and all else that its environment.json says."""
    heads = [Th("run", False), Th("seed"), Th("commit", False), Th("device", False), Th("precision", False)]
    heads += [Th("epochs"), Th("best epoch"), Th("training"), Th("with ancestors"), Th("finished", False)]
    rows, more = [], []
    for one in runs:
        f = one.facts
        own, total = f["seconds"], f["seconds_total"]
        rows.append(
            [
                text(f"{one.run.method}/{one.run.hash}-s{one.run.seed}"),
                number(one.run.seed),
                text(f["commit"] and str(f["commit"])[:12]),
                text(f["device"]),
                text(f["precision"]),
                number(f["epochs"]),
                number(f["best_epoch"]),
                number(own, None if own is None else duration(own)),
                number(total, None if total is None else duration(total)),
                text(f["finished"]),
            ]
        )
        pairs = [(label, f[key]) for key, label in _MORE.items()]
        more.append(f"<details><summary>{escape(one.run.name)}</summary>{facts(pairs)}</details>")
    caption = "A dash stands for what the run does not say, such as the commit outside a git checkout."
    return sortable("made", caption, heads, rows, "Filter runs") + "".join(more)


_MORE = {
    "command": "command",
    "starts_from": "starts from",
    "commit": "commit",
    "oltr": "oltr",
    "python": "Python",
    "platform": "platform",
    "packages": "packages",
    "processes": "processes",
    "threads": "threads",
    "undecodable": "undecodable training images",
    "data_digest": "digest of the lists",
}
