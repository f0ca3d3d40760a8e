"""datapackage.json of a Camtrap DP package, and what the format requires of it that nobody has said."""

from collections.abc import Mapping, Sequence
from typing import Any

from oltr_cli.base.text import some
from oltr_cli.inference.formats.camtrap_project import moment

SCHEMAS = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/"
_PROJECT = ("title", "samplingDesign", "captureMethod", "individualAnimals")


def descriptor(
    given: Mapping[str, Any], deployments: Sequence[Mapping[str, str]], names: set[str], by: str, created: str
) -> dict[str, Any]:
    """The object in datapackage.json.

    Args:
        given: the project's metadata, which stay as they are.
        deployments: rows of deployments.csv; with positions they give ``spatial``, with times ``temporal``.
        names: every scientificName in observations.csv.
        by: what made the observations.
    """
    project, sources = given.get("project"), given.get("sources")
    own: dict[str, Any] = {
        "resources": [_resource(name) for name in ("deployments", "media", "observations")],
        "profile": f"{SCHEMAS}camtrap-dp-profile.json",
        "created": created,
        "sources": [*(sources if isinstance(sources, list) else ()), {"title": by}],
        "project": {**(project if isinstance(project, dict) else {}), "observationLevel": ["media"]},
        "taxonomic": [{"scientificName": name} for name in sorted(names)],
    }
    if deployments and not without_position(deployments):
        own["spatial"] = _box([(float(row["longitude"]), float(row["latitude"])) for row in deployments])
    timed = [row for row in deployments if row["deploymentStart"]]
    if timed:
        first = min(moment(row["deploymentStart"], "deploymentStart") for row in timed)
        last = max(moment(row["deploymentEnd"], "deploymentEnd") for row in timed)
        own["temporal"] = {"start": first.date().isoformat(), "end": last.date().isoformat()}
    return {**given, **own}


def without_position(deployments: Sequence[Mapping[str, str]]) -> list[str]:
    """IDs of the deployments that have no latitude."""
    return [row["deploymentID"] for row in deployments if not row.get("latitude")]


def lacking(package: Mapping[str, Any], deployments: Sequence[Mapping[str, str]], untimed: int) -> list[str]:
    """What Camtrap DP requires and the package does not have, in words.

    Args:
        untimed: photographs without a time.
    """
    found = []
    if without := without_position(deployments):
        found.append(f"latitude and longitude of deployments in deployments.csv: {some(without)}")
    if untimed:
        found.append(
            f"the time of photographs without one in their EXIF, in media.csv and observations.csv: {untimed:,}"
        )
    keys = [] if package.get("contributors") else ["contributors"]
    keys += [f"project.{key}" for key in _PROJECT if key not in package["project"]]
    keys += [key for key in ("spatial", "temporal") if key not in package]
    if keys:
        found.append(f"in datapackage.json: {', '.join(keys)}")
    return found


def _resource(name: str) -> dict[str, str]:
    return {
        "name": name,
        "path": f"{name}.csv",
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": f"{SCHEMAS}{name}-table-schema.json",
    }


def _box(points: list[tuple[float, float]]) -> dict[str, Any]:
    """GeoJSON of the box around (longitude, latitude) points, or of the only one."""
    if len(set(points)) == 1:
        return {"type": "Point", "coordinates": list(points[0])}
    (west, east), (south, north) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
