"""A report as one HTML page: style, script, pictures and numbers inside it, and a policy that lets it load nothing."""

import base64
import hashlib
import re
from html import escape
from importlib import resources

from oltr_cli import __version__
from oltr_cli.progress import duration, percent
from oltr_cli.report.content import Finished, Report, Unfinished
from oltr_cli.report.markup import Td, Th, embedded_json, facts, number, sortable, text
from oltr_cli.report.pictures import Picture
from oltr_cli.tables import text as words
from oltr_cli.tables.filled import FilledRow, FilledTable

REFRESH = 10  # seconds after which a watched page loads itself again
# Rates and accuracies are shown in percent; areas and F-measures as fractions, as the paper prints them.
FRACTIONS = ("f_measure", "f_measure_2019", "auroc", "aupr_in", "aupr_out", "oscr", "macro_f1")
LOWER_IS_BETTER = ("fpr95", "detection_error_tpr95", "detection_error_min")


def render(report: Report, *, watched: bool = False) -> str:
    """The page.

    Args:
        watched: it loads itself again every REFRESH seconds.
    """
    js = _file("report.js")
    digest = base64.b64encode(hashlib.sha256(js.encode()).digest()).decode()
    sections = _sections(report)
    values = {
        # Only this very script runs, so that not even a fault in escaping would let another one.
        "csp": escape(
            f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "refresh": f'<meta http-equiv="refresh" content="{REFRESH}">\n' if watched else "",
        "title": escape(f"oltr report: {report.dataset}"),
        "css": _file("report.css"),
        "js": js,
        "about": _about(report, watched),
        "nav": "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections),
        "main": "\n".join(
            f'<section id="{name}"><h2>{escape(title)}</h2>\n{html}</section>' for name, title, html in sections
        ),
        "version": escape(__version__),
        "made": escape(report.made),
        "data": embedded_json(
            {
                "runs": [one.numbers for one in report.finished],
                "classSets": report.class_sets,
                "pictures": report.pictures,
                "galleryProblem": report.gallery_problem,
            }
        ),
    }
    # All at once: what is put in is not searched for placeholders again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _file("page.html"))


def _file(name: str) -> str:
    return resources.files("oltr_cli.report").joinpath(name).read_text(encoding="utf-8")


def _about(report: Report, watched: bool) -> str:
    methods = {one.run.method for one in report.finished}
    seeds = sorted({one.run.seed for one in report.finished})
    commits = sorted({str(one.facts["commit"]) for one in report.finished if one.facts["commit"]})
    parts = [
        f"{_count(len(report.finished), 'finished run')} of {_count(len(methods), 'method')}",
        f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}" if seeds else "",
        f"commit {', '.join(commit[:12] for commit in commits)}" if commits else "",
        report.made,
    ]
    line = " · ".join(escape(part) for part in parts if part)
    return f'{line} · <strong class="live">watched: loads itself again every {REFRESH} s</strong>' if watched else line


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _sections(report: Report) -> list[tuple[str, str, str]]:
    """(id, title, HTML) of the sections that have anything to show."""
    sections = []
    if report.unfinished:
        sections.append(("going-on", "Not finished", _unfinished(report.unfinished)))
    if report.finished:
        tables = "".join(_table(table, number) for number, table in enumerate(report.tables))
        sections += [
            ("tables", "The paper’s table", tables),
            ("numbers", "All numbers", _numbers(report)),
            ("figures", "Figures", _figures(report.figures)),
            ("one-run", "One run", _one_run(report)),
            ("runs", "How they were made", _made(report.finished)),
        ]
    return sections


def _unfinished(runs: tuple[Unfinished, ...]) -> str:
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


def _table(filled: FilledTable, place: int) -> str:
    """A table of the paper: measured mean ± std, the paper's figure below it."""
    columns = filled.table.columns
    heads = [Th("method", False)]
    heads += [
        Th(
            f"<small>{escape(column.group)}</small>{escape(column.name)}" if column.group else escape(column.name),
            title=f"{column.metric}, {column.unit}{', lower is better' if column.better == 'lower' else ''}"
            + (f", {column.bounds}" if column.bounds else ""),
        )
        for column in columns
    ]
    heads += [Th("seeds"), Th("τ"), Th("training", title="of one seed, with the runs that it starts from")]
    heads.append(Th("group", False))
    rows = [_table_row(filled, row) for row in filled.grid]
    caption = (
        f"{escape(words.title(filled))} Measured mean ± standard deviation over the seeds; below it the paper’s figure."
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
        below = f"paper {escape(printed)}" + (f", {escape(delta)}" if delta else "") if printed else ""
        html = escape(shown) + (f" <span class=std>± {escape(std)}</span>" if std else "")
        cells.append(Td(f"{html}<small>{below}</small>" if below else html, cell.mean, best))
    seeds, taus = row.seeds, row.thresholds
    cells.append(number(len(seeds) or None, ", ".join(map(str, seeds)) if len(seeds) < 6 else f"{len(seeds)} of them"))
    tau = None if not taus else ", ".join(dict.fromkeys(f"{value:.4g}" for value in taus[:4]))
    rule = f"<small>{escape(row.threshold_rule or '')}</small>" if taus else ""
    cells.append(Td(f"{escape(tau)}{rule}", taus[0]) if tau is not None else Td("–", None))
    cells.append(number(row.seconds, None if row.seconds is None else duration(row.seconds)))
    return [*cells, text(row.spec.heading or "the paper’s")]


def _numbers(report: Report) -> str:
    """Every metric of every run."""
    heads = [Th("run", False), Th("seed")]
    heads += [Th(_metric_head(name), title=f"{name}, {_unit(name)}") for name in report.metrics]
    best = {}
    for name in report.metrics:
        values = {one.metrics[name] for one in report.finished if name in one.metrics}
        if len(values) > 1:
            best[name] = min(values) if name.endswith(LOWER_IS_BETTER) else max(values)
    rows = []
    for one in report.finished:
        label = f"{one.run.method}/{one.run.hash}-s{one.run.seed}"
        row = [Td(f'<a href="#one-run" data-run="{escape(one.run.name)}">{escape(label)}</a>', label)]
        row.append(number(one.run.seed))
        for name in report.metrics:
            value = one.metrics.get(name)
            cell = number(value, None if value is None else _shown(name, value))
            row.append(Td(cell.html, cell.value, value is not None and best.get(name) == value))
        rows.append(row)
    caption = "Every run at its own τ. Accuracies and rates in percent; F-measures and areas as fractions."
    return sortable("all-numbers", caption, heads, rows, "Filter runs")


def _metric_head(name: str) -> str:
    half, _, metric = name.partition("/")
    return f"<small>{escape(half)}</small>{escape(metric.replace('_', ' '))}"


def _unit(name: str) -> str:
    return "fraction" if name.endswith(FRACTIONS) else "percent"


def _shown(name: str, value: float) -> str:
    return f"{value:.3f}" if _unit(name) == "fraction" else f"{100 * value:.1f}"


def _figures(pictures: tuple[Picture, ...]) -> str:
    drawn = "".join(_figure(picture) for picture in pictures if picture.uri)
    not_drawn = "".join(
        f"<li>{escape(p.title)}: {escape(p.note)}"
        + (f"; to make them: <code>{escape(p.command)}</code>" if p.command else "")
        + "</li>"
        for p in pictures
        if not p.uri
    )
    html = f'<div class="figures">{drawn}</div>' if drawn else ""
    return html + (f'<ul class="notes">{not_drawn}</ul>' if not_drawn else "")


def _figure(picture: Picture) -> str:
    note = f"<small>{escape(picture.note)}</small>" if picture.note else ""
    return (
        f'<figure><img src="{picture.uri}" alt="{escape(picture.title)}">'
        f"<figcaption>{escape(picture.title)}{note}</figcaption></figure>"
    )


def _one_run(report: Report) -> str:
    """The frame that the page's script fills for the run that is chosen, and what is written out of each run."""
    options = "".join(
        f'<option value="{i}">{escape(one.run.method)}, seed {one.run.seed} ({escape(one.run.hash)})</option>'
        for i, one in enumerate(report.finished)
    )
    classes = sortable(
        "classes",
        "Accuracy of each class on the test set, and what it is wrongly taken for most often.",
        [
            Th("class", False),
            Th("group", False),
            Th("training images"),
            Th("test images"),
            Th("accuracy, %", title="closed set: nothing is rejected"),
            Th("with rejection, %", title="at the run’s own τ"),
            Th("most confused with", False, "the most frequent wrong prediction, before rejection"),
            Th("share, %", title="of the class’s test images"),
        ],
        [],
        "Filter classes",
    )
    each = "".join(_details(one, i) for i, one in enumerate(report.finished))
    return (
        f'<p class="choose"><label>Run <select id="run">{options}</select></label></p>'
        '<div id="threshold"></div>'
        f'<h3>Most confident mistakes</h3><div id="gallery"></div><h3>Classes</h3>{classes}{each}'
    )


def _details(one: Finished, place: int) -> str:
    """Plots and recipe of one run, shown while it is the chosen one."""
    problem = f'<p class="problem">{escape(one.problem)}</p>' if one.problem else ""
    plots = "".join(_figure(picture) for picture in one.plots)
    return (
        f'<div class="of-run" data-run="{place}" hidden>{problem}'
        + (f'<h3>Plots</h3><div class="figures">{plots}</div>' if plots else "")
        + f"<h3>Recipe</h3><details><summary>recipe.toml of {escape(one.run.name)}</summary>"
        f"<pre>{escape(one.recipe)}</pre></details></div>"
    )


def _made(runs: tuple[Finished, ...]) -> str:
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
