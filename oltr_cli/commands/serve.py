"""``oltr serve RUN``."""

from typing import Annotated

import typer

from oltr_cli.commands.named_run import named_model
from oltr_cli.commands.options import (
    BatchSize,
    ClassWeight,
    Coverage,
    Device,
    FinishedRun,
    MethodsFrom,
    OwnConfidence,
    Padded,
    Quiet,
    SetScore,
    Taxonomy,
    TaxonProbability,
    ThresholdOfRun,
    set_rule,
)

_LIMITS = "Limits"


def serve(
    run: FinishedRun,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is reached from other machines")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free")] = 8000,
    window: Annotated[
        float,
        typer.Option(min=0, max=1000, metavar="MS", help="Milliseconds that an image waits for others of its batch"),
    ] = 5,
    batch_size: BatchSize = 64,
    padded: Padded = False,
    threshold: ThresholdOfRun = None,
    own_confidence: OwnConfidence = False,
    coverage: Coverage = None,
    set_score: SetScore = None,
    class_weight: ClassWeight = None,
    taxonomy: Taxonomy = None,
    at_least: TaxonProbability = None,
    max_files: Annotated[int, typer.Option(min=1, help="Images of a request", rich_help_panel=_LIMITS)] = 64,
    max_file_mb: Annotated[
        float, typer.Option(min=0.001, help="Megabytes of an image file", rich_help_panel=_LIMITS)
    ] = 20,
    max_request_mb: Annotated[
        float, typer.Option(min=0.001, help="Megabytes of a request as it is sent", rich_help_panel=_LIMITS)
    ] = 100,
    max_megapixels: Annotated[
        float, typer.Option(min=0.001, help="Megapixels of an image", rich_help_panel=_LIMITS)
    ] = 50,
    max_waiting: Annotated[
        int,
        typer.Option(
            min=1, help="Images at a time; more are refused with 503 and Retry-After", rich_help_panel=_LIMITS
        ),
    ] = 256,
    decoders: Annotated[int, typer.Option(min=1, help="Threads that decode images", rich_help_panel=_LIMITS)] = 2,
    device: Device = None,
    quiet: Quiet = False,
    methods_from: MethodsFrom = None,
) -> None:
    """Answer requests for predictions over HTTP, with one process and one network.

    Prints its address once it listens; a page there shows the requests and tries them, and needs no network. Images of
    all requests are batched together. On SIGTERM or Ctrl-C the requests in flight are answered first.

    An image that cannot be used has its own status and one line that says why; the others of its request are answered.
    There is no password and no encryption: for other machines put a proxy in front.

    ```
    oltr serve mine/dme                          http://127.0.0.1:8000
    oltr serve mine/dme --coverage 0.9 --window 20
    curl -F files=@a.jpg -F files=@b.jpg http://127.0.0.1:8000/predict?top_k=3
    ```
    """
    import warnings

    from oltr_cli.base.display import Display
    from oltr_cli.errors import UsageProblem
    from oltr_cli.inference.serving.packages import require_packages

    require_packages()
    if max_files > max_waiting:
        raise UsageProblem(f"--max-files {max_files} is more than --max-waiting {max_waiting}: it could never be taken")
    rule = set_rule(coverage, set_score, class_weight)
    display = Display(quiet)
    folder = named_model(run, display)  # a misspelt name is told before torch starts
    display.starting_torch()
    from rich.markup import escape

    from oltr_cli.base.machine import make_accelerator
    from oltr_cli.base.text import counted
    from oltr_cli.inference.model_card import model_card
    from oltr_cli.inference.recogniser import Recogniser
    from oltr_cli.inference.serving.batcher import Batcher
    from oltr_cli.inference.serving.server import answer_until_stopped, bound, is_loopback, url_of
    from oltr_cli.inference.serving.service import Service, application
    from oltr_cli.inference.serving.uploads import Limits
    from oltr_cli.inference.verdicts import judge
    from oltr_cli.inference.wider import WiderAnswers

    limits = Limits(max_files, round(max_file_mb * 1e6), round(max_request_mb * 1e6), round(max_megapixels * 1e6))
    warnings.filterwarnings("ignore", module="PIL")  # about odd files; what cannot be decoded has a line
    listening = bound(host, port)
    recogniser = Recogniser.load(folder, make_accelerator(device).device, threshold, not own_confidence)
    wider = WiderAnswers.of(recogniser, rule, taxonomy, at_least)
    batcher = Batcher(
        lambda batch, top_k: judge(recogniser, batch, top_k, wider=wider, padded=batch_size if padded else None),
        batch_size,
        window / 1000,
        max_waiting,
    )
    service = Service(recogniser, wider, batcher, limits, model_card(recogniser, "FOLDER"), decoders)
    display.say(f"[dim]{escape(recogniser.run.name)}: τ = {recogniser.chosen.shown} ({recogniser.rule})[/]")
    for line in wider.texts if wider else ():
        display.say(f"[dim]{escape(line)}[/]")
    if not is_loopback(listening):
        display.warn("other machines reach this address, and there is no password: put a proxy in front")
    display.say(f"[dim]an image waits up to {window:g} ms for others, in batches of up to {batch_size}; Ctrl-C ends[/]")
    answer_until_stopped(application(service, lambda: print(url_of(listening), flush=True)), listening)
    display.say(f"stopped after {counted(batcher.judged, 'image')}")
