"""Verdicts as a Camtrap DP package: a folder of datapackage.json, deployments.csv, media.csv and observations.csv.

Version 1.0.2 of https://camtrap-dp.tdwg.org. The tables are written as the verdicts come, into a hidden folder that
gets its name only when all of it is there, so a call that was stopped leaves no package. What the format asks for and
nobody said stays empty, and a message names it: positions and times are never made up.
"""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from oltr_cli import __version__
from oltr_cli.base.files import write_text
from oltr_cli.base.text import number, spreadsheet_cell
from oltr_cli.data.images import ImageFacts, image_facts
from oltr_cli.data.sources.left_out import LeftOut
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.inference.formats.camtrap_descriptor import descriptor, lacking
from oltr_cli.inference.formats.camtrap_project import DEPLOYMENT_COLUMNS, Project
from oltr_cli.inference.formats.class_kinds import kind_of
from oltr_cli.inference.formats.rows import Line, Lines
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.verdicts import Totals, Verdict

MEDIA_COLUMNS = (
    *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName", "fileMediatype"),
    *("exifData", "favorite", "mediaComments"),
)
OBSERVATION_COLUMNS = (
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
    *("observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior", "individualID"),
    *("individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX", "bboxY", "bboxWidth"),
    *("bboxHeight", "classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability"),
    *("observationTags", "observationComments"),
)


@dataclass
class _Span:
    """First and last time of a deployment's photographs."""

    first: datetime | None = None
    last: datetime | None = None

    def add(self, time: datetime | None) -> None:
        if time is not None:
            self.first = min(self.first or time, time)
            self.last = max(self.last or time, time)


class CamtrapPackage(Lines):
    """Writes ``folder``; nothing goes to stdout.

    Attributes:
        lacking: after the end: what the format requires and nobody has said.
        unzoned: photographs whose time was taken as UTC, since nobody has said its offset.
    """

    def __init__(self, recogniser: Recogniser, folder: Path, project: Project, zone: tzinfo | None) -> None:
        super().__init__(recogniser, 1, False)
        if folder.exists():
            raise UsageProblem(f"--out {folder}: exists; choose another name, or remove it")
        self.folder, self.project, self.zone = folder.absolute(), project, zone
        self.run = recogniser.run.name
        self.by = f"oltr {__version__}, run {self.run}"
        self.at = _written(datetime.now(UTC).replace(microsecond=0))
        self.tau = number(recogniser.threshold)
        self.lacking: list[str] = []
        self.images = self.untimed = self.unzoned = 0
        self.left_out = LeftOut()
        self.spans: dict[str, _Span] = {}
        self.names: set[str] = set()
        self.files = ExitStack()
        self.temporary = Path()

    def start(self) -> list[Line]:
        parent = self.folder.parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f".{self.folder.name}.", suffix=".tmp"))
            self.temporary.chmod(0o755)
            self.media = self._table("media.csv", MEDIA_COLUMNS)
            self.observations = self._table("observations.csv", OBSERVATION_COLUMNS)
        except OSError as error:
            raise OltrError(f"--out {self.folder}: cannot be written ({error.strerror})") from None
        return []

    def row(self, v: Verdict) -> list[Line]:
        path = Path(v.path)
        facts = _facts(path)
        if facts is None:
            self.left_out.add("images that cannot be read", v.path)  # the format asks for their time
            return []
        self.images += 1
        deployment = self.project.deployment_of(_parents(path)) or _own_deployment(path)
        time = self._time(facts, deployment)
        self.spans.setdefault(deployment, _Span()).add(time)
        shared = {"deploymentID": deployment, "mediaID": f"{self.images:08d}"}
        at = _written(time) if time else ""
        self._write(self.media, MEDIA_COLUMNS, shared | self._medium(path, facts, at, v.error))
        self._write(self.observations, OBSERVATION_COLUMNS, shared | self._observation(v, at))
        return []

    def end(self, totals: Totals, complete: bool) -> Iterable[Line]:
        if not complete:
            with suppress(OSError):  # a full disk is why it ends
                self.files.close()
            shutil.rmtree(self.temporary, ignore_errors=True)
            return []
        try:
            rows = [self._deployment(id_) for id_ in self.spans]
            deployments = self._table("deployments.csv", DEPLOYMENT_COLUMNS)
            for row in rows:
                self._write(deployments, DEPLOYMENT_COLUMNS, row)
            self.files.close()
            package = descriptor(self.project.metadata, rows, self.names, self.by, self.at)
            text = json.dumps(package, indent=2, allow_nan=False)
            write_text(self.temporary / "datapackage.json", text + "\n")
            self.temporary.rename(self.folder)
            self.lacking = lacking(package, rows, self.untimed)
        except OSError as error:
            shutil.rmtree(self.temporary, ignore_errors=True)
            raise OltrError(f"--out {self.folder}: cannot be written ({error.strerror})") from None
        return []

    def messages(self) -> list[str]:
        """What a person has to add or to check, after the end."""
        found = [f"{self.folder}: not valid until these are filled in: {'; '.join(self.lacking)}"] * bool(self.lacking)
        found += self.left_out.warnings()
        if self.unzoned:
            found.append(
                f"{self.unzoned:,} photographs do not say their offset from UTC, so their times are taken for UTC; "
                "give --utc-offset +HH:MM, or deployments.csv in --package"
            )
        return found

    def _table(self, name: str, columns: tuple[str, ...]) -> Any:
        file = self.files.enter_context((self.temporary / name).open("w", newline="", encoding="utf-8"))
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        return table

    def _write(self, table: Any, columns: tuple[str, ...], row: Mapping[str, object]) -> None:
        try:
            table.writerow([row.get(column, "") for column in columns])
        except OSError as error:
            raise OltrError(f"--out {self.folder}: cannot be written ({error.strerror})") from None

    def _time(self, facts: ImageFacts, deployment: str) -> datetime | None:
        """When it was taken, with an offset from UTC; None if the photograph does not say."""
        if facts.taken is None:
            self.untimed += 1
            return None
        if facts.taken.tzinfo is not None:
            return facts.taken
        zone = self.project.zone_of(deployment) or self.zone
        self.unzoned += zone is None
        return facts.taken.replace(tzinfo=zone or UTC)

    def _medium(self, path: Path, facts: ImageFacts, at: str, error: str) -> dict[str, object]:
        return {
            "timestamp": at,
            "filePath": _url(path),
            "filePublic": "false",
            "fileMediatype": facts.media_type,
            "mediaComments": error,
        }

    def _observation(self, v: Verdict, at: str) -> dict[str, object]:
        row: dict[str, object] = {
            "observationID": f"{self.images:08d}-1",
            "eventStart": at,
            "eventEnd": at,
            "observationLevel": "media",
        }
        if v.error:
            return row | {"observationType": "unclassified"}
        row |= {
            "classificationMethod": "machine",
            "classifiedBy": self.by,
            "classificationTimestamp": self.at,
            "observationComments": f"confidence {number(v.confidence)}, threshold {self.tau}",
        }
        if v.unknown:
            nearest = f"nearest class: {v.top[0][0]}; {row['observationComments']}"
            return row | {"observationType": "unknown", "observationComments": nearest}
        row |= {"observationType": kind_of(v.label), "classificationProbability": min(v.top[0][1], 1.0)}
        if row["observationType"] == "animal":
            row["scientificName"] = name = str(spreadsheet_cell(v.label))
            self.names.add(name)
        return row

    def _deployment(self, id_: str) -> dict[str, str]:
        if id_ in self.project.deployments:
            return self.project.deployments[id_]
        span = self.spans[id_]
        ends = {"deploymentStart": span.first, "deploymentEnd": span.last}
        return {"deploymentID": id_} | {name: _written(time) if time else "" for name, time in ends.items()}


def _facts(path: Path) -> ImageFacts | None:
    try:
        return image_facts(path)
    except DataProblem:
        return None


def _parents(path: Path) -> Iterable[str]:
    """Names of the folders that a file is in, the innermost first."""
    return (folder.name for folder in _absolute(path).parents)


def _own_deployment(path: Path) -> str:
    """The folder as the user wrote it: two cards may both have a folder DCIM."""
    folder = path.parent if path.parent.name and ".." not in path.parts else _absolute(path).parent
    text = folder.as_posix().strip("/").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return str(spreadsheet_cell(text))


def _url(path: Path) -> str:
    """``file://…``: the format takes relative paths for files inside the package, and allows no ``..``."""
    return _absolute(path).as_uri().replace("..", "%2E%2E")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  Path.resolve would follow links


def _written(time: datetime) -> str:
    """As the format's ``%Y-%m-%dT%H:%M:%S%z``."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
