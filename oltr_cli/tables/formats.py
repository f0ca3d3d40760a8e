"""The formats of a filled table, and saving it in all of them. Programs (CSV, JSON) get every number unrounded."""

import csv
import io
import json
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from oltr_cli.base.files import write_text
from oltr_cli.tables.filled import FilledRow, FilledTable
from oltr_cli.tables.latex import latex
from oltr_cli.tables.markdown import markdown
from oltr_cli.tables.screen import screen

FORMATS = ("rich", "md", "tex", "csv", "json")
FILES = ("md", "csv", "json", "tex")


def render(filled: FilledTable, fmt: str) -> RenderableType:
    """The table in one of ``FORMATS``; a string in all but rich."""
    return {"rich": screen, "md": markdown, "tex": latex, "csv": _csv, "json": _json}[fmt](filled)


def save(filled: FilledTable, folder: Path, variant: str = "") -> list[Path]:
    """Write ``table-NAME-DATASET[-VARIANT]`` into ``folder`` as Markdown, CSV, JSON and LaTeX.

    Raises:
        OltrError: the folder cannot be written.
    """
    stem = "-".join(part for part in ("table", filled.name, filled.dataset, variant.replace(":", "-")) if part)
    paths = [folder / f"{stem}.{suffix}" for suffix in FILES]
    for suffix, path in zip(FILES, paths, strict=True):
        write_text(path, str(render(filled, suffix)).rstrip("\n") + "\n")
    return paths


def _csv(filled: FilledTable) -> str:
    """One line per row; for each metric the columns paper_, measured_, std_ and n_, empty if there is no number.

    paper_low_ and paper_high_ are the ends of a range, empty where there is none; paper_ is empty for a range.
    """
    out = io.StringIO()
    rows = [_facts(filled, row) for row in filled.rows]
    flat = [
        {
            **{key: _flat(value) for key, value in row.items() if key != "cells"},
            "stages": "+".join(map(str, row["stages"])),
            **{
                f"{key}_{cell['metric']}": cell[key]
                for cell in row["cells"]
                for key in ("paper", "paper_low", "paper_high", "measured", "std", "n")
            },
        }
        for row in rows
    ]
    names = list(flat[0]) if flat else ["table", "dataset", "label", "method"]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _json(filled: FilledTable) -> str:
    """One object with everything: columns, rows with cells, notes."""
    table = filled.table
    facts = {
        "table": filled.name,
        **table.model_dump(include={"label", "caption", "source"}),
        "dataset": filled.dataset,
        "paper_dataset": table.dataset,
        "comparable": filled.comparable,
        "shots": filled.shots,
        "columns": [{**c.model_dump(), "unit": c.unit, "better": c.better} for c in table.columns],
        "rows": [_facts(filled, row) for row in filled.rows],
        "notes": list(filled.notes),
    }
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=1)


def _facts(filled: FilledTable, row: FilledRow) -> dict[str, Any]:
    """A row for programs: every number unrounded, in the column's unit."""
    return {
        "table": filled.name,
        "dataset": filled.dataset,
        "key": row.spec.key,
        "label": row.label,
        "method": row.method,
        "sets": list(row.spec.sets),
        "equal_budget": row.spec.equal_budget,
        "in_paper": row.spec.in_paper,
        "heading": row.spec.heading,
        "quoted": row.spec.quoted,
        "source": row.spec.source,
        "published_epochs": row.spec.published_epochs,
        "tuned_on_open": row.tuned_on_open,
        "status": row.status,
        "command": row.command,
        "hash": row.hash,
        "seeds": list(row.seeds),
        "epochs": row.epochs,
        "stages": list(row.footing.stages),
        "from_scratch": row.footing.from_scratch,
        "backbone": row.footing.backbone,
        "seconds": row.seconds,
        "devices": list(row.devices),
        "shots": filled.shots,
        "threshold_rule": row.threshold_rule,
        "thresholds": list(row.thresholds),
        "detector": row.detector.as_json() if row.detector else None,
        "cells": [
            {
                "metric": column.metric,
                "unit": column.unit,
                "paper": cell.paper_value,
                "paper_low": low,
                "paper_high": high if high is None or isfinite(high) else None,
                "measured": cell.mean,
                "std": cell.std,
                "n": cell.n,
                "delta": cell.delta,
                "values": list(cell.values),
                "best": cell.mean is not None and cell.mean == filled.best(i, row.tuned_on_open),
            }
            for i, (column, cell) in enumerate(zip(filled.table.columns, row.cells, strict=True))
            for low, high in [cell.paper_limits or (None, None)]
        ],
    }
