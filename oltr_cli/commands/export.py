"""``oltr export``: a finished run as a file for onnxruntime or torch, or as a folder for a model hub."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oltr_cli.commands.named_run import named_model
from oltr_cli.commands.options import FinishedRun, Force, Json, MethodsFrom, OwnConfidence, Quiet, ThresholdOfRun
from oltr_cli.commands.printing import print_json

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.inference.export import Exported
    from oltr_cli.inference.recogniser import Recogniser


def export(
    run: FinishedRun,
    to: Annotated[
        Literal["onnx", "torch", "hub-folder"],
        typer.Option(
            metavar="onnx|torch|hub-folder",
            help="onnx: .onnx for onnxruntime; torch: .pt2 for torch.export.load; hub-folder: weights, config.json and "
            "model card, for oltr predict and model hubs",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File or folder to write to; default the run's name, in the current folder"),
    ] = None,
    threshold: ThresholdOfRun = None,
    own_confidence: OwnConfidence = False,
    force: Force = False,
    quiet: Quiet = False,
    json_: Json = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Export a finished run as one file that gives the same scores without oltr, or as a folder for a model hub.

    The file takes batches of any size of uint8 images, resized and cropped; it normalises them itself. It also holds
    class names, threshold and how to resize, as JSON under the key "oltr". A hub-folder has model.safetensors,
    config.json and a model card, README.md; oltr predict takes it in the place of a run, on any machine. Without
    --threshold, τ is the one that oltr tune threshold chose for the run, otherwise the run's own.

    ```
    oltr export mine/dme                               mine-dme-3f2a….onnx
    oltr export mine/dme --to torch --out model.pt2    for torch alone
    oltr export mine/dme --threshold val_open          with another threshold
    oltr export mine/dme --to hub-folder --out mine    weights, config.json and model card
    ```
    """
    from dataclasses import asdict

    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.base.display import Display

    display = Display(quiet)
    folder = named_model(run, display)  # a misspelt name is told before torch starts
    display.starting_torch()
    from oltr_cli.inference.export import default_file, export_run
    from oltr_cli.inference.export_formats import require_packages
    from oltr_cli.inference.recogniser import Recogniser

    if to != "hub-folder":
        require_packages(to)
    recogniser = Recogniser.load(folder, threshold=threshold, by_choice=not own_confidence)
    if to == "hub-folder":
        _export_folder(recogniser, out, display, force, json_)
        return
    file = (out or Path()).expanduser()
    if file.is_dir():
        file /= default_file(recogniser, to)
    done = export_run(recogniser, to, file, display, force)
    if json_:
        print_json(asdict(done))
    else:
        _show(done)
    if done.checked_with is None:
        display.warn("the file was not checked because onnxruntime is not installed: pip install onnxruntime")
    following = shlex.join(["oltr", "data", "active", run]) + given_files()
    display.say(f"[dim]next[/]  {escape(following)} FOLDER --budget 50")


def _export_folder(recogniser: "Recogniser", out: Path | None, display: "Display", force: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.markup import escape

    from oltr_cli.base.added_files import given_files
    from oltr_cli.inference.hub_folder import default_folder, export_folder

    done = export_folder(recogniser, (out or Path(default_folder(recogniser))).expanduser(), display, force)
    if as_json:
        print_json(asdict(done))
    else:
        tau = recogniser.chosen
        print(f"{done.folder}  from {done.run}")
        for name, size in done.bytes.items():
            print(f"  {name:<18} {size / 1e6:.1f} MB")
        print(f"  classes  {len(recogniser.class_names):,}; unknown where confidence < {tau.shown} ({tau.text})")
        print("  checked  read back: its scores are the run's, bit for bit")
    following = shlex.join(["oltr", "predict", done.folder]) + given_files()
    display.say(f"[dim]next[/]  {escape(following)} PATH")


def _show(done: "Exported") -> None:
    about = done.about
    tau = about["threshold"]
    least = "by_class[prediction]" if "by_class" in tau else f"{tau['value']:.4g}"
    print(f"{done.file}  {done.bytes / 1e6:.1f} MB, from {done.run}")
    print(f"  in       images {about['preprocessing']['input']}")
    print("  out      " + ", ".join(about["outputs"]))
    print(f"  classes  {len(about['class_names']):,}; unknown where confidence < {least} ({tau['rule']})")
    print("  inside   normalisation; JSON under the key oltr: class names, threshold, how to resize and crop")
    if done.checked_with is not None:
        print(f"  checked  with {done.checked_with}: scores differ from the run's by {done.difference:.1e} at most")
