"""What verdicts alone cannot tell a Camtrap DP package: the project, its deployments, and the cameras' time zone."""

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from oltr_cli.errors import DataProblem, UsageProblem, nearest

DEPLOYMENT_COLUMNS = (
    *("deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty"),
    *("deploymentStart", "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight"),
    *("cameraDepth", "cameraTilt", "cameraHeading", "detectionDistance", "timestampIssues", "baitUse", "featureType"),
    *("habitat", "deploymentGroups", "deploymentTags", "deploymentComments"),
)
# What the package of the predictions says of itself.
_OWN = {"resources", "profile", "created", "temporal", "taxonomic", "bibliographicCitation"}
_OWN |= {"id", "name", "version", "$schema"}


@dataclass(frozen=True)
class Project:
    """Metadata of a datapackage.json without what describes its own tables, and rows of deployments.csv by their ID."""

    metadata: dict[str, Any] = field(default_factory=dict)
    deployments: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Project":
        """Read datapackage.json and deployments.csv in ``folder``; one of them is enough.

        Raises:
            DataProblem: neither is there, or one cannot be read.
        """
        package, table = folder / "datapackage.json", folder / "deployments.csv"
        if not package.is_file() and not table.is_file():
            raise DataProblem(f"--package {folder}: has neither datapackage.json nor deployments.csv")
        return cls(_metadata(package) if package.is_file() else {}, _deployments(table) if table.is_file() else {})

    def deployment_of(self, folders: Iterable[str]) -> str | None:
        """The deployment that a photograph in ``folders`` (the innermost first) belongs to: the first that is an ID."""
        return next((name for name in folders if name in self.deployments), None)

    def zone_of(self, deployment: str) -> tzinfo | None:
        """The offset from UTC that the deployment's start is written with."""
        return moment(self.deployments.get(deployment, {}).get("deploymentStart", ""), None).tzinfo


def moment(text: str, where: str | None) -> datetime:
    """An ISO 8601 time; without an offset, or not one at all if ``where`` is None, it has no ``tzinfo``.

    Raises:
        DataProblem: not a time; the message begins with ``where``.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        if where is None:
            return datetime.min
        raise DataProblem(f"{where}: {text!r} is not a time such as 2024-05-01T04:57:37+02:00") from None


def offset(text: str) -> tzinfo:
    """``+02:00`` as a time zone.

    Raises:
        UsageProblem: it is something else.
    """
    try:
        zone = datetime.strptime(text, "%z").tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise UsageProblem(f"--utc-offset {text}: not an offset from UTC such as +02:00")
    return zone


def _metadata(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise DataProblem(f"{file}: not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise DataProblem(f"{file}: not a JSON object")
    return {key: value for key, value in content.items() if key not in _OWN}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _deployments(file: Path) -> dict[str, dict[str, str]]:
    """Rows by deploymentID, with the columns of the format alone."""
    found: dict[str, dict[str, str]] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            columns = reader.fieldnames or []
            for needed in ("deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd"):
                if needed not in columns:
                    raise DataProblem(f"{file}:1: has no column {needed}{nearest(needed, columns)}")
            for row in reader:
                where = f"{file}:{reader.line_num}"
                id_ = (row["deploymentID"] or "").strip()
                if not id_ or id_ in found:
                    raise DataProblem(f"{where}: deploymentID {id_!r} is {'not unique' if id_ else 'empty'}")
                for column, most in (("latitude", 90.0), ("longitude", 180.0)):
                    if not _within(row[column], most):
                        raise DataProblem(
                            f"{where}: {column} {row[column]!r} is not a number from −{most:g} to {most:g}"
                        )
                for column in ("deploymentStart", "deploymentEnd"):
                    if moment(row[column] or "", f"{where}, {column}").tzinfo is None:
                        raise DataProblem(f"{where}: {column} {row[column]!r} has no offset from UTC such as +02:00")
                found[id_] = {column: row.get(column) or "" for column in DEPLOYMENT_COLUMNS} | {"deploymentID": id_}
    except UnicodeDecodeError:
        raise DataProblem(f"{file}: not UTF-8 text") from None
    except (OSError, csv.Error) as error:
        raise DataProblem(f"{file}: cannot be read ({error})") from None
    return found


def _within(text: str | None, most: float) -> bool:
    try:
        return abs(float(text or "")) <= most
    except ValueError:
        return False
