"""A report as one HTML page with style, script, pictures and data inside, and a policy that forbids loading anything.

``templates/page.html`` is the page; each of its sections is a template named after its anchor.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from oltr_cli import __version__
from oltr_cli.base.display import duration, percent
from oltr_cli.base.text import counted
from oltr_cli.protocol.catalogue import metric
from oltr_cli.report.content import Report
from oltr_cli.tables import text as words
from oltr_cli.tables.paper import Column

REFRESH = 10  # seconds between reloads of a watched page


def render(report: Report, *, watched: bool = False) -> str:
    """The page.

    Args:
        watched: it reloads itself every REFRESH seconds.
    """
    script = _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        _templates()
        .get_template("page.html")
        .render(
            report=report,
            # Only this script may run, so that not even a bug in escaping could run another one.
            policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'",
            refresh=REFRESH if watched else None,
            style=_file("report.css"),
            script=script,
            version=__version__,
        )
    )
    return page.encode("utf-8", "replace").decode()  # names of files need not be UTF-8


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("oltr_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    templates.filters["tau"] = "{:.4g}".format
    templates.globals |= {
        "best_values": _best_values,
        "counted": counted,
        "duration": duration,
        "groups": _groups,
        "percent": percent,
        "metric": metric,
        "words": words,
    }
    return templates


def _file(name: str) -> Markup:
    """A file of this package, to be inserted unchanged."""
    return Markup(resources.files("oltr_cli.report").joinpath(name).read_text(encoding="utf-8"))


def _groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Headings above neighbouring columns ("": none), each with the number of columns."""
    return [(group, len(list(members))) for group, members in groupby(columns, key=lambda column: column.group)]


def _best_values(report: Report) -> dict[str, float]:
    """The best value of each metric that differs between the runs."""
    best = {}
    for name in report.metrics:
        values = {one.metrics[name] for one in report.finished if name in one.metrics}
        if len(values) > 1:
            best[name] = min(values) if metric(name).better == "lower" else max(values)
    return best
