"""Photographs of Darwin Core occurrences: archives of GBIF and iNaturalist, iNaturalist's exports and open data.

Either one table with a column of images, or a table of occurrences beside a table of media with the same ID. A class is
a species (``species``, else ``scientificName``), the photographs of an occurrence are a group. Images have to be
downloaded already: a URL means the file below the table's folder that is called like it.
"""

from pathlib import Path

from oltr_cli.data.sources.csv_file import Row, header_of, keyed, rows_of
from oltr_cli.data.sources.left_out import ABSENT, UNLABELLED, LeftOut
from oltr_cli.data.sources.local_files import LocalFiles
from oltr_cli.data.sources.table import ALIASES, Photograph, iso_date, label_of
from oltr_cli.errors import DataProblem

_OCCURRENCES = ("occurrence", "occurrences", "observation", "observations")
_MEDIA = ("multimedia", "media", "photos", "photo", "images")
_SUFFIXES = (".csv", ".txt", ".tsv")  # also compressed, as iNaturalist's open data
# Columns by ``keyed`` name; pairs of the occurrence's ID and what a medium calls it.
_LABELS = ("species", "scientificname", "taxonname", "taxonspeciesname")
_IMAGES = ("associatedmedia", "imageurl", "identifier", "accessuri", "photoid")
_KEYS = (
    *(("gbifid", "gbifid"), ("id", "coreid"), ("occurrenceid", "coreid"), ("occurrenceid", "occurrenceid")),
    *(("observationuuid", "observationuuid"), ("id", "id"), ("id", "observationid"), ("id", "occurrenceid")),
)
_PATHS = {*ALIASES["path"], *ALIASES["folder"]}  # then it is a CSV of paths
_OWN_IDS = ("gbifid", "occurrenceid", "observationuuid", "id", "observationid", "catalognumber")
_TAXON = ("taxonid",)
_DATES = ("eventdate", "observedon", "timeobservedat")


def tables_in(source: Path) -> tuple[Path, Path] | None:
    """(occurrences, media) that ``source``, a table or its folder, consists of; None if it is something else.

    A table with its own column of images is both.
    """
    folder = source if source.is_dir() else source.parent
    occurrences = [source] if source.is_file() else _named(folder, _OCCURRENCES)
    for table in occurrences:
        columns = {keyed(name) for name in header_of(table)}
        if columns & _PATHS:
            continue
        named = columns & {*_LABELS, "taxonid"}
        for media in _named(folder, _MEDIA) if named and columns & set(_OWN_IDS) else ():
            of_media = {keyed(name) for name in header_of(media)}
            if of_media & set(_IMAGES) and any(o in columns and m in of_media for o, m in _KEYS):
                return table, media
        # The occurrence's own ``identifier`` is no image.
        if named and columns & {"associatedmedia", "imageurl", "photoid"}:
            return table, table
    return None


def is_table(name: str) -> bool:
    """Whether a file is called like a table, compressed by gzip or not."""
    return name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def read(tables: tuple[Path, Path], warnings: list[str]) -> list[Photograph]:
    """The photographs that are there, in the order of the media.

    Args:
        warnings: what was left out is appended.
    Raises:
        DataProblem: unreadable, or no photograph is left; the message names file and line.
    """
    occurrences, media = (_Table(file) for file in tables)
    alone = occurrences.file == media.file
    own, of_medium = _pair(occurrences, media)
    by_id = {} if alone else _by_id(occurrences, own)
    taxa = _taxa(media.file.parent)
    files, left_out, found = LocalFiles(media.file.parent), LeftOut(), []
    for where, row in rows_of(media.file):
        references, id_ = media.images(row), row.get(of_medium, "")
        occurrence = row if alone else by_id.get(id_)
        if occurrence is None:
            left_out.add("media of no occurrence in the table", where)
            continue
        label = label_of(
            occurrences.first(occurrence, _LABELS) or taxa.get(occurrences.first(occurrence, _TAXON), ""), where
        )
        for reference in references:
            if not label:
                left_out.add(UNLABELLED, reference)
            elif (path := files.find(reference, media.first(row, ("photoid",)))) is None:
                left_out.add(ABSENT, reference)
            else:
                date = _date(occurrences.first(occurrence, _DATES))
                found.append(Photograph(path, label, "", id_ or where, date, columns=occurrence, where=where))
    warnings += left_out.warnings()
    if not found:
        raise DataProblem(
            f"{media.file}: no photograph is left: {left_out or 'it lists none'}; images are looked for below "
            f"{media.file.parent}"
        )
    return found


class _Table:
    """A table whose columns are found by ``keyed`` names."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.names = {keyed(name): name for name in reversed(header_of(file))}

    def first(self, row: Row, columns: tuple[str, ...]) -> str:
        """The first of ``columns`` that has a value in ``row``."""
        for column in columns:
            if column in self.names and (cell := row.get(self.names[column], "")):
                return cell
        return ""

    def images(self, row: Row) -> list[str]:
        """Paths or URLs of a row's images."""
        kind = f"{self.first(row, ('type',))} {self.first(row, ('format',))}".lower()
        if any(word in kind for word in ("sound", "audio", "video", "movingimage")):
            return []
        if "extension" in self.names and (photo := self.first(row, ("photoid",))):
            return [f"{photo}.{self.first(row, ('extension',))}"]
        return [part.strip() for part in self.first(row, _IMAGES).split("|") if part.strip()]


def _by_id(occurrences: _Table, id_: str) -> dict[str, Row]:
    """Rows without empty cells by their ID."""
    found: dict[str, Row] = {}
    for where, row in rows_of(occurrences.file):
        if not row[id_] or row[id_] in found:
            raise DataProblem(f"{where}: {id_} {row[id_]!r} is {'not unique' if row[id_] else 'empty'}")
        found[row[id_]] = {name: cell for name, cell in row.items() if cell}
    return found


def _named(folder: Path, stems: tuple[str, ...]) -> list[Path]:
    """Tables in ``folder`` with these names, as archives have them; iNaturalist's exports add numbers."""
    try:
        files = [path for path in sorted(folder.iterdir()) if is_table(path.name) and path.is_file()]
    except OSError:  # find_photographs says so
        return []
    return [path for path in files if path.name.lower().partition(".")[0].rstrip("-_0123456789") in stems]


def _pair(occurrences: _Table, media: _Table) -> tuple[str, str]:
    """The columns that join the tables; of one table its ID or ""."""
    if occurrences.file == media.file:
        own = next((occurrences.names[key] for key in _OWN_IDS if key in occurrences.names), "")
        return own, own
    pairs = ((o, m) for o, m in _KEYS if o in occurrences.names and m in media.names)
    one, other = next(pairs)
    return occurrences.names[one], media.names[other]


def _taxa(folder: Path) -> dict[str, str]:
    """Names by ID of iNaturalist's taxa.csv, if it is there."""
    found: dict[str, str] = {}
    for table in map(_Table, _named(folder, ("taxa",))):
        found |= {table.first(row, _TAXON): table.first(row, ("name",)) for _, row in rows_of(table.file)}
    return found


def _date(text: str) -> str:
    try:
        return iso_date(text)
    except ValueError:
        return ""  # Darwin Core allows words there
