"""Photographs of a Camtrap DP package, https://camtrap-dp.tdwg.org (1.0).

A class is a ``scientificName``, or ``human``, ``vehicle`` and ``blank`` by ``observationType``. The photographs of a
deployment are a group; ``eventID``, ``locationID`` and ``locationName`` can be named as columns. An observation of an
event counts for all photographs of the deployment in the event's time that have none of their own.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from oltr_cli.base.text import counted
from oltr_cli.data.sources.csv_file import Row, need, rows_of
from oltr_cli.data.sources.json_file import objects, read_object
from oltr_cli.data.sources.left_out import ABSENT, SEVERAL, UNLABELLED, LeftOut
from oltr_cli.data.sources.local_files import LocalFiles, is_file
from oltr_cli.data.sources.table import Photograph, iso_date, label_of
from oltr_cli.errors import DataProblem

DESCRIPTOR = "datapackage.json"
_TABLES = ("deployments", "media", "observations")
_KINDS = {"human": "human", "vehicle": "vehicle", "blank": "blank"}
_Labels = dict[str, set[str]]


def is_package(content: dict[str, Any]) -> bool:
    """Whether a datapackage.json is one of camera traps: by its profile, or by its three tables."""
    resources = content.get("resources")
    names = {one.get("name") for one in resources if isinstance(one, dict)} if isinstance(resources, list) else set()
    return "camtrap-dp" in str(content.get("profile", "")) or set(_TABLES) <= names


def read(file: Path, warnings: list[str]) -> list[Photograph]:
    """The photographs with observations of one class, in the order of media.csv.

    Args:
        file: datapackage.json.
        warnings: what was left out, and labels that a machine gave, are appended.
    Raises:
        DataProblem: a table is missing or lacks a column, or no photograph is left; the message names file and line.
    """
    tables = _tables(file)
    need(tables["media"][0], "mediaID", "deploymentID", "timestamp", "filePath", "fileMediatype")
    media = list(rows_of(*tables["media"]))
    known: set[str] = set()
    for where, row in media:
        if row["mediaID"] in known:
            raise DataProblem(f"{where}: the mediaID {row['mediaID']!r} is not unique")
        known.add(row["mediaID"])
    sites = {row.get("deploymentID", ""): row for _, row in rows_of(*tables["deployments"])}
    labels, events, machine = _observations(tables["observations"], media, known)
    files, left_out, found = LocalFiles(file.parent), LeftOut(), []
    by_machine = 0
    for where, row in media:
        id_, name = row["mediaID"], row.get("fileName") or row["filePath"]
        classes = labels.get(id_, set())
        if not row["fileMediatype"].startswith("image/"):
            left_out.add("media that are not images", name)
        elif len(classes) != 1:
            left_out.add(SEVERAL if classes else UNLABELLED, name)
        elif (path := files.find(row["filePath"], row.get("fileName", ""), id_)) is None:
            left_out.add(ABSENT, name)
        else:
            by_machine += id_ in machine
            found.append(_photograph(row, path, next(iter(classes)), sites, events.get(id_, ""), where))
    warnings += left_out.warnings()
    if by_machine:
        warnings.append(
            f"labels that a machine gave and nobody checked (classificationMethod): {counted(by_machine, 'image')}"
        )
    if not found:
        raise DataProblem(f"{tables['media'][0]}: no photograph is left: {left_out or 'it lists none'}")
    return found


def _photograph(row: Row, path: Path, label: str, sites: dict[str, Row], event: str, where: str) -> Photograph:
    site = sites.get(row["deploymentID"], {})
    columns = {"mediaID": row["mediaID"], "deploymentID": row["deploymentID"], "eventID": event}
    columns |= {name: site.get(name, "") for name in ("locationID", "locationName")}
    try:
        date = iso_date(row["timestamp"]) if row["timestamp"] else ""
    except ValueError:
        raise DataProblem(f"{where}: timestamp {row['timestamp']!r} is not a time") from None
    return Photograph(path, label, "", row["deploymentID"], date, columns=columns, where=where)


def _tables(file: Path) -> dict[str, list[Path]]:
    """Table → its file, or the files that it is divided into. A package may not name files outside of its folder."""
    found: dict[str, list[Path]] = {}
    for position, resource in enumerate(objects(read_object(file), "resources", file)):
        where, name, path = f"{file}: resources[{position}]", resource.get("name"), resource.get("path")
        if name not in _TABLES:
            continue
        found[name] = [_inside(part, file, where) for part in (path if isinstance(path, list) and path else [path])]
    for name in _TABLES:
        if name not in found:
            raise DataProblem(f"{file}: 'resources' has no table called {name}")
    return found


def _inside(path: Any, file: Path, where: str) -> Path:
    """A file in the package's folder."""
    if not isinstance(path, str) or "://" in path:
        raise DataProblem(f"{where}: 'path' is {path!r}; only files in the package's folder are read")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise DataProblem(f"{where}: 'path' {path!r} leads out of the package's folder")
    found = file.absolute().parent / path
    if not is_file(found):
        raise DataProblem(f"{where}: no such file {found}")
    return found


def _observations(
    table: list[Path], media: list[tuple[str, Row]], known: set[str]
) -> tuple[_Labels, dict[str, str], set[str]]:
    """Classes by medium, the event of each, and those whose labels are a machine's alone."""
    need(table[0], "deploymentID", "mediaID", "eventStart", "eventEnd", "observationLevel", "observationType")
    human: _Labels = defaultdict(set)
    machine: _Labels = defaultdict(set)
    of_event: _Labels = defaultdict(set)
    of_event_machine: _Labels = defaultdict(set)
    events: dict[str, str] = {}
    span = _Spans(media)
    for where, row in rows_of(*table):
        label = _label(row, where)
        by_machine = row.get("classificationMethod") == "machine"
        if row["mediaID"]:
            if row["mediaID"] not in known:
                raise DataProblem(f"{where}: no medium has the mediaID {row['mediaID']!r}")
            affected: Iterable[str] = (row["mediaID"],)
            into = machine if by_machine else human
        else:
            affected = span.between(row, where)
            into = of_event_machine if by_machine else of_event
        for id_ in affected:
            if row.get("eventID"):
                events.setdefault(id_, row["eventID"])
            if label:
                into[id_].add(label)
    # What a person saw counts before what a machine did, and an image's own before its event's.
    labels = {**of_event_machine, **machine, **of_event, **human}
    return labels, events, set(labels) - set(of_event) - set(human)


def _label(row: Row, where: str) -> str:
    """A class, or "" for what nobody could or did classify."""
    if row["observationType"] == "animal":
        return label_of(row.get("scientificName", ""), where)
    return _KINDS.get(row["observationType"], "")


class _Spans:
    """The media of each deployment by their time in seconds."""

    def __init__(self, media: list[tuple[str, Row]]) -> None:
        by_deployment: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for where, row in media:
            if row["timestamp"]:  # without one an image is of no event
                by_deployment[row["deploymentID"]].append((_seconds(row["timestamp"], where), row["mediaID"]))
        self.times: dict[str, list[float]] = {}
        self.ids: dict[str, list[str]] = {}
        for deployment, pairs in by_deployment.items():
            pairs.sort()
            self.times[deployment] = [time for time, _ in pairs]
            self.ids[deployment] = [id_ for _, id_ in pairs]

    def between(self, row: Row, where: str) -> list[str]:
        """The media from ``eventStart`` to ``eventEnd`` of an observation's deployment."""
        times = self.times.get(row["deploymentID"], [])
        first = bisect_left(times, _seconds(row["eventStart"], where))
        return self.ids.get(row["deploymentID"], [])[first : bisect_right(times, _seconds(row["eventEnd"], where))]


def _seconds(time: str, where: str) -> float:
    """Since 1970; a time without an offset counts as UTC.

    Raises:
        DataProblem: not a time.
    """
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        raise DataProblem(f"{where}: {time!r} is not a time such as 2024-05-01T04:57:37+02:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
