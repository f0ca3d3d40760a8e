"""Pictures inside the page: the paper's figures, if the runs suffice for them, and the plots of each run."""

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oltr_cli.base.display import Display
from oltr_cli.errors import OltrError, first_line
from oltr_cli.figures import catalogue
from oltr_cli.figures.request import MissingRuns, Request
from oltr_cli.recipe.files import recorded_recipe
from oltr_cli.report.choose import Chosen
from oltr_cli.runs.folder import Run, finished_runs

THROUGH_TRAINING = "7"  # the figure that runs every training image through the network
PIXELS = 2e8  # of a training set that two cores take through a small network in a minute or two
LARGE_SVG = 150_000  # bytes above which PNG is smaller: pictures of thousands of points
PLOT_WIDTH = 840  # pixels; the page shows them at about 620
COLORS = 128


@dataclass(frozen=True)
class Picture:
    """A picture or, if ``uri`` is "", the reason why there is none (``note``)."""

    name: str
    title: str
    uri: str
    note: str = ""
    command: str = ""


def paper_figures(
    chosen: Chosen,
    display: Display,
    drawn: dict[tuple[Any, ...], Picture],
    state: Callable[[Run], object],
    names: Sequence[str] | None = None,
) -> list[Picture]:
    """The paper's figures of the dataset; nothing is trained for them.

    Args:
        drawn: pictures drawn before, by the name of the figure and the ``state`` of the runs it may show; updated.
        names: those to draw; None: all except those that would take minutes.
    """
    request = Request(chosen.dataset, chosen.source, chosen.option, display=display)
    runs = [run for found in finished_runs(chosen.dataset).values() for run, _ in found]
    wanted = list(catalogue.FIGURES) if names is None else names
    pictures = []
    with display.bar("figures", len(wanted), "figures") as bar:
        for name in wanted:
            bar.advance(0, title=f"figure {name}")
            if name == THROUGH_TRAINING and names is None and _pixels(chosen) > PIXELS:
                note = "runs all training images through the network, which may take minutes; request it with --figures"
                pictures.append(Picture(name, _title(name), "", note, f"oltr figure {name} {request.option}"))
            else:
                methods = _methods(name, request)
                key = (name, *(state(run) for run in runs if run.method in methods))
                if key not in drawn:
                    drawn[key] = _figure(name, request)
                pictures.append(drawn[key])
            bar.advance()
    return pictures


def _pixels(chosen: Chosen) -> float:
    """Pixels of the largest training set of the runs, as the network sees it; 0 if unknown."""
    sizes = [0.0]
    for run, result in chosen.done:
        side = recorded_recipe(run.path).get("data", {}).get("image_size")
        if isinstance(side, int):
            sizes.append(float(sum(result.class_counts)) * side**2)
    return max(sizes)


def _title(name: str) -> str:
    return f"Figure {name}: {catalogue.FIGURES[name][1]}"


def _methods(name: str, request: Request) -> set[str]:
    """The methods whose runs a figure shows; none if it is not for this dataset, which drawing it reports."""
    try:
        return {row.method for row in catalogue.load(name).rows(request)}
    except OltrError:
        return set()


def _figure(name: str, request: Request) -> Picture:
    spec = catalogue.load(name)
    title = _title(name)
    try:
        gathered = spec.gather(request)
    except MissingRuns:
        return Picture(
            name, title, "", "needs runs that are not finished", f"oltr figure {name} {request.option} --run"
        )
    except OltrError as problem:
        return Picture(name, title, "", first_line(problem))
    from matplotlib import rc_context

    from oltr_cli.figures.save import PAGE

    with rc_context(PAGE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = spec.draw(gathered.data)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "oltr"})
        if svg.tell() < LARGE_SVG:
            uri = _uri("image/svg+xml", svg.getvalue())
        else:
            figure.savefig(png, format="png", dpi=150)
            uri = _uri("image/png", _few_colors(png.getvalue()))
    return Picture(name, title, uri, "; ".join(note.rstrip(".") for note in gathered.notes))


def run_plots(run: Run) -> list[Picture]:
    """The pictures in a run's ``plots`` folder, without any that cannot be read."""
    pictures = []
    for path in sorted((run.path / "plots").glob("*.png")):
        try:
            pictures.append(
                Picture(path.stem, path.stem.replace("-", " "), _uri("image/png", _few_colors(path.read_bytes())))
            )
        except (OSError, ValueError, SyntaxError):  # raised by Pillow for a broken PNG
            continue
    return pictures


def _few_colors(png: bytes) -> bytes:
    """The picture with a palette, at a third of the size; plots have few colours."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
        image = opened.convert("RGB")
    if image.width > PLOT_WIDTH:
        image = image.resize((PLOT_WIDTH, round(image.height * PLOT_WIDTH / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
