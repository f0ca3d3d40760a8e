"""The paper's tables as it prints them, from the TOML files in recipes/tables/.

A file's columns name a metric and a unit, its rows a method and the paper's figures, cell by cell as printed.
``oltr_cli.tables.fill`` sets measured numbers beside them, ``oltr_cli.tables.formats`` turns the outcome into text.
"""

import tomllib
from importlib import resources
from statistics import mode
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from oltr_cli.errors import UsageProblem, nearest, several

DASH = "-"  # of the paper: not reported


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Part):
    """One column: where it stands in the head, and which metric it shows in which unit."""

    name: str
    metric: str
    unit: Literal["percent", "fraction"]
    group: str = ""
    bounds: str = ""
    better: Literal["higher", "lower"] = "higher"

    @property
    def scale(self) -> float:
        """From a saved metric (a share) to the column's unit."""
        return 100.0 if self.unit == "percent" else 1.0


class Row(_Part):
    """One of the paper's rows; ``figures`` as printed, one a column."""

    label: str
    method: str
    figures: tuple[str, ...]


class Table(_Part):
    """One of the paper's tables."""

    label: str
    caption: str
    source: str
    dataset: str
    dataset_title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _fits(self) -> "Table":
        for row in self.rows:
            if len(row.figures) != len(self.columns):
                raise ValueError(f"row '{row.label}' has {len(row.figures)} figures for {len(self.columns)} columns")
            for figure in row.figures:
                if figure != DASH:
                    float(figure)
        return self

    def decimals(self, column: int) -> int:
        """Digits after the point in which the paper prints most figures of a column."""
        printed = [row.figures[column] for row in self.rows if row.figures[column] != DASH]
        return mode(len(figure.partition(".")[2]) for figure in printed) if printed else 1


def list_tables() -> dict[str, str]:
    """Name → caption of the paper's tables at hand."""
    tables = {name: load_table(name) for name in sorted(_files())}
    return {name: f"{table.label}: {table.caption}" for name, table in tables.items()}


def load_table(name: str) -> Table:
    """The table of that name, for example ``3a``.

    Raises:
        UsageProblem: there is none, or its file does not fit together.
    """
    files = _files()
    if name not in files:
        raise UsageProblem(f"no table '{name}'{nearest(name, files)}")
    try:
        return Table.model_validate(tomllib.loads(files[name]))
    except tomllib.TOMLDecodeError as error:
        raise UsageProblem(f"table {name}: is not TOML: {error}") from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'table'}: {e['msg']}" for e in error.errors()]
        raise UsageProblem(several(f"table {name}", problems)) from None


def _files() -> dict[str, str]:
    """Name → text of the table files."""
    folder = resources.files("oltr_cli.recipes.tables")
    return {
        f.name.removesuffix(".toml"): f.read_text(encoding="utf-8")
        for f in folder.iterdir()
        if f.name.endswith(".toml")
    }
