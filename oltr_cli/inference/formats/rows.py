"""How verdicts are written: a table for people, CSV, JSON lines, or one JSON object; each a few lines at a time."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len, set_cell_size

from oltr_cli.base.text import json_text, number, spreadsheet_cell, visible
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.verdicts import EXPLAINED, UNKNOWN, Ranked, Reasons, Totals, Verdict
from oltr_cli.inference.wider import WiderAnswers, record, said, taxon_name

Line = tuple[str, str]  # text, and its style on a terminal
_WIDEST = 40  # cells of a label in the table


class Lines:
    """One JSON object per line.

    Other formats derive from it: lines to write before the first verdict, for each batch of them, and after the last.
    """

    def __init__(self, recogniser: Recogniser, top_k: int, explain: bool, wider: WiderAnswers | None = None) -> None:
        self.top_k, self.wider = top_k, wider

    def start(self) -> list[Line]:
        return []

    def rows(self, verdicts: list[Verdict]) -> list[Line]:
        return [line for verdict in verdicts for line in self.row(verdict)]

    def row(self, v: Verdict) -> list[Line]:
        return [(json_text(verdict_record(v)), "")]

    def end(self, totals: Totals, complete: bool) -> Iterable[Line]:
        return []


class Table(Lines):
    """One line per image with the path last, so that columns are aligned although rows come one by one."""

    def __init__(self, recogniser: Recogniser, top_k: int, explain: bool, wider: WiderAnswers | None = None) -> None:
        super().__init__(recogniser, top_k, explain, wider)
        widest = max(map(cell_len, recogniser.class_names)) + cell_len(f"{UNKNOWN} (?)")
        widest = _WIDEST if wider is not None and wider.tree is not None else widest
        self.width = min(widest, _WIDEST)

    def start(self) -> list[Line]:
        return [(self._line("label", "confidence", "image"), "dim")]

    def row(self, v: Verdict) -> list[Line]:
        if v.error:
            return [(self._line("error", "–", f"{visible(v.path)}: {visible(v.error)}"), "red")]
        label = f"{UNKNOWN} ({v.top[0][0]}?)" if v.unknown else self._label(v)
        lines = [(self._line(label, number(v.confidence), visible(v.path)), "yellow" if v.unknown else "")]
        if self.top_k > 1:
            lines.append((self._line("", "", _named(v.top)), "dim"))
        if v.reasons:
            lines += [(self._line("", "", text), "dim") for text in _said(v.reasons)]
        if v.wider and self.wider:
            lines += [(self._line("", "", text), "dim") for text in said(v.wider, self.wider)]
        return lines

    def _label(self, v: Verdict) -> str:
        """The class, or ``some owl (barn owl?)`` where the taxon is above it."""
        if v.wider is None or v.wider.taxon is None or self.wider is None or v.wider.taxon.name == v.label:
            return v.label
        return f"{taxon_name(v.wider.taxon, self.wider.names)} ({v.label}?)"

    def _line(self, label: str, confidence: str, rest: str) -> str:
        return f"{cell(visible(label), self.width)}  {confidence:>10}  {rest}"


class Csv(Lines):
    """A header and one line per image; cells that do not apply are empty."""

    def __init__(self, recogniser: Recogniser, top_k: int, explain: bool, wider: WiderAnswers | None = None) -> None:
        classes = len(recogniser.class_names)
        super().__init__(recogniser, min(top_k, classes), explain, wider)
        self.explained = min(EXPLAINED, classes) if explain else 0

    def start(self) -> list[Line]:
        top = [f"{name}_{i + 1}" for i in range(self.top_k) for name in ("class", "probability")]
        reasons = ["reachability"] if self.explained else []
        for names in (("nearest", "distance"), ("infused", "coefficient")):
            reasons += [f"{name}_{i + 1}" for i in range(self.explained) for name in names]
        return [csv_line(["image", "label", "unknown", "confidence", *top, *reasons, *self._wider_names(), "error"])]

    def row(self, v: Verdict) -> list[Line]:
        known = ["", "", ""] if v.error else [v.label, "true" if v.unknown else "false", v.confidence]
        reasons: list[Any] = [v.reasons.reachability if v.reasons else ""] if self.explained else []
        for ranked in (v.reasons.nearest, v.reasons.infused) if v.reasons else (None, None):
            reasons += _cells(ranked, self.explained)
        return [csv_line([v.path, *known, *_cells(v.top, self.top_k), *reasons, *self._wider_cells(v), v.error])]

    def _wider_names(self) -> list[str]:
        sets = ["set_size", "set"] if self.wider and self.wider.sets else []
        return sets + (["taxon", "taxon_probability"] if self.wider and self.wider.tree else [])

    def _wider_cells(self, v: Verdict) -> list[Any]:
        """The set is a JSON list in one cell: a name may hold any separator. The taxon of all classes has no name."""
        if v.wider is None:
            return [""] * len(self._wider_names())
        cells: list[Any] = []
        if v.wider.label_set is not None:
            cells += [len(v.wider.label_set), json_text(v.wider.label_set)]
        if v.wider.taxon is not None:
            cells += [v.wider.taxon.name or "", v.wider.taxon.probability]
        return cells


class Whole(Lines):
    """One JSON object around all rows, valid even if the call was stopped: then ``complete`` is false."""

    def __init__(self, recogniser: Recogniser, top_k: int, explain: bool, wider: WiderAnswers | None = None) -> None:
        super().__init__(recogniser, top_k, explain, wider)
        self.facts = {
            "run": recogniser.run.name,
            "threshold": recogniser.threshold_facts,
            **({} if wider is None else wider.facts),
        }
        self.comma = ""

    def start(self) -> list[Line]:
        return [(json_text(self.facts)[:-1] + ', "images": [', "")]

    def row(self, v: Verdict) -> list[Line]:
        before, self.comma = self.comma, ","
        return [(before + json_text(verdict_record(v)), "")]

    def end(self, totals: Totals, complete: bool) -> list[Line]:
        return [('], "counts": ' + json_text(vars(totals)) + ', "complete": ' + json_text(complete) + "}", "")]


FORMATS: dict[str, type[Lines]] = {"table": Table, "csv": Csv, "jsonl": Lines}


def verdict_record(v: Verdict) -> dict[str, Any]:
    """A verdict for JSON: always the same keys, null if they do not apply; set and taxon only if asked for."""
    if v.error:
        return {"image": v.path, "label": None, "unknown": None, "confidence": None, "top": [], "error": v.error}
    told: dict[str, Any] = {"image": v.path, "label": v.label, "unknown": v.unknown, "confidence": v.confidence}
    told["top"] = _objects(v.top, "probability")
    if v.reasons:
        infused = v.reasons.infused
        told["reachability"] = v.reasons.reachability
        told["nearest"] = _objects(v.reasons.nearest, "distance")
        told["infused"] = None if infused is None else _objects(infused, "coefficient")
    return {**told, **(record(v.wider) if v.wider else {}), "error": None}


def _objects(ranked: Ranked, value: str) -> list[dict[str, Any]]:
    return [{"class": name, value: x} for name, x in ranked]


def cell(text: str, width: int) -> str:
    """``text`` filled up or cut to ``width`` cells of a terminal."""
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)


def csv_line(cells: list[Any]) -> Line:
    """One line; text that a spreadsheet would take for a formula is guarded, see ``spreadsheet_cell``."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(map(spreadsheet_cell, cells))
    return line.getvalue(), ""


def _cells(ranked: Ranked | None, count: int) -> list[Any]:
    """name, value, name, value, …; empty ones to fill up to ``count`` pairs."""
    pairs = [cell for pair in (ranked or [])[:count] for cell in pair]
    return pairs + [""] * (2 * count - len(pairs))


def _named(ranked: Ranked) -> str:
    return ", ".join(f"{visible(name)} {number(value)}" for name, value in ranked)


def _said(reasons: Reasons) -> list[str]:
    lines = [f"reachability {number(reasons.reachability)}; centroids nearby: {_named(reasons.nearest)}"]
    return lines + ([f"memory infused: {_named(reasons.infused)}"] if reasons.infused is not None else [])
