"""A report as one HTML page: style, script, pictures and numbers inside it, and a policy that lets it load nothing."""

import base64
import hashlib
import re
from html import escape
from importlib import resources

from oltr_cli import __version__
from oltr_cli.report.content import Finished, Report
from oltr_cli.report.markup import Th, embedded_json, sortable
from oltr_cli.report.page_tables import all_numbers, made, paper_table, unfinished
from oltr_cli.report.pictures import Picture

REFRESH = 10  # seconds after which a watched page loads itself again


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
        sections.append(("going-on", "Not finished", unfinished(report.unfinished)))
    if report.finished:
        tables = "".join(paper_table(table, number) for number, table in enumerate(report.tables))
        if report.left_out:
            tables += f'<ul class="notes"><li>{escape(report.left_out)}</li></ul>'
        figures = [("figures", "Figures", _figures(report.figures))] if report.figures else []
        sections += [
            ("tables", "The paper’s table", tables),
            ("numbers", "All numbers", all_numbers(report)),
            *figures,
            ("one-run", "One run", _one_run(report)),
            ("runs", "How they were made", made(report.finished)),
        ]
    return sections


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
