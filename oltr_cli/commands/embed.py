"""``oltr embed RUN|BACKBONE PATH…``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oltr_cli.commands import complete
from oltr_cli.commands.named_run import named_model
from oltr_cli.commands.options import BatchSize, DecodingWorkers, Device, Force, ImagePaths, Json, MethodsFrom, Quiet
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.inference.embedder import Embedder


def embed(
    network: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BACKBONE",
            autocompletion=complete.runs,
            help="Finished run, named as for oltr predict; or a backbone (oltr ls backbones), with --weights",
        ),
    ],
    paths: ImagePaths,
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="File to write to")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|hub|torchvision",
            help="Weights of a backbone: a file, timm's from the hub, or torchvision's ImageNet weights",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=1024, help="Pixels of a backbone's images. Default: what timm says of it, or 224"),
    ] = None,
    force: Force = False,
    device: Device = None,
    workers: DecodingWorkers = None,
    batch_size: BatchSize = 64,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Write the features that a network gives to images, for use in other programs.

    The file has "features" (N, D) float32 and "paths" (N,), in order: numpy.load("features.npz"). An image that cannot
    be read is named and left out, and the exit code is then 1. The features of a run are those in its saved scores.

    ```
    oltr embed mine/dme shots/ --out features.npz
    oltr embed timm/vit_small_patch14_dinov2 shots/ --weights hub --out features.npz
    oltr embed resnet50 shots/ --weights torchvision --out features.npz
    ```
    """
    from oltr_cli.base.display import Display
    from oltr_cli.errors import UsageProblem

    display = Display(quiet)
    out = out.expanduser()
    if out.suffix.lower() != ".npz":
        raise UsageProblem(f"--out {out}: the file's name must end in .npz")
    if out.is_dir():
        raise UsageProblem(f"--out {out}: is a folder")
    if out.exists() and not force:
        raise UsageProblem(f"{out} exists; replace it with --force, or name another file with --out")
    if paths.count("-") > 1:
        raise UsageProblem("- is given twice, but stdin can be read only once")
    display.starting_torch()
    from rich.markup import escape

    from oltr_cli.base.machine import default_workers
    from oltr_cli.base.text import counted
    from oltr_cli.errors import OltrError
    from oltr_cli.inference import embedder
    from oltr_cli.inference.image_paths import image_sources
    from oltr_cli.inference.image_stream import ImageStream

    used = _embedder(network, weights, image_size, device, display)
    if used.loaded:
        display.say(f"[dim]{escape(str(weights))}: {used.loaded}[/]")
    count = default_workers() if workers is None else workers
    with (
        ImageStream(image_sources(paths), used.data, batch_size, count) as stream,
        display.bar("embedding", 0) as bar,
    ):
        shown = 0

        def advance(images: int) -> None:
            nonlocal shown
            shown += images
            bar.advance(images)
            bar.reached(shown, stream.found)

        done = embedder.embed(used, stream, out, lambda path, why: display.warn(f"{path}: {why}; left out"), advance)
    facts = {"out": str(out), "network": used.name, "weights": weights, "image_size": used.data.image_size}
    if json_:
        print_json({**facts, "images": done.images, "features": done.size, "failed": done.failed})
    else:
        print(f"{out}: {counted(done.images, 'image')}, {done.size:,} features each, by {used.name}")
    if done.failed:
        total = done.images + len(done.failed)
        raise OltrError(f"{len(done.failed):,} of {counted(total, 'image')} cannot be read and are not in {out}")


def _embedder(
    network: str, weights: str | None, image_size: int | None, device: str | None, display: "Display"
) -> "Embedder":
    """The run or backbone that the user names; a folder is a run."""
    from oltr_cli.base.machine import make_accelerator
    from oltr_cli.errors import UsageProblem
    from oltr_cli.inference.embedder import Embedder
    from oltr_cli.recipe.backbones import BACKBONES
    from oltr_cli.recipe.specs import BackboneSpec

    if Path(network).is_dir() or BACKBONES.named(network) is None:
        if weights is not None or image_size is not None:
            option = "--weights" if weights is not None else "--image-size"
            raise UsageProblem(
                f"{option} is for a backbone (oltr ls backbones); {network} is none, and a run has its own"
            )
        return Embedder.of_run(named_model(network, display), make_accelerator(device).device)
    if weights is None:
        raise UsageProblem(f"backbone '{network}' needs weights: --weights FILE, hub (of timm) or torchvision")
    spec = BackboneSpec(name=network, weights=weights)
    return Embedder.of_backbone(spec, make_accelerator(device).device, image_size, display.quiet)
