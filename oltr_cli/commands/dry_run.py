"""What ``--dry-run`` prints: the runs that would be made, and what they cost."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oltr_cli.commands.costs import left_as_json, show, total
from oltr_cli.commands.printing import print_json
from oltr_cli.errors import DataProblem, OltrError, UsageProblem

if TYPE_CHECKING:
    from oltr_cli.base.display import Display
    from oltr_cli.pipeline.estimates import Costs, Known
    from oltr_cli.planning.graph import Graph, Node
    from oltr_cli.planning.plan import Planned


def check_options(dry_run: bool, rate: float | None, probe: bool, run: bool = True) -> None:
    """Refuse ``--dry-run``, ``--rate`` and ``--probe`` where they have no effect.

    Args:
        run: whether the command makes runs.
    Raises:
        UsageProblem: they do.
    """
    from oltr_cli.base.machine import in_group

    if (rate is not None or probe) and not dry_run:
        raise UsageProblem("--rate and --probe only apply to --dry-run; add it")
    if rate is not None and probe:
        raise UsageProblem("--rate states what --probe would measure; give one of them")
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageProblem(f"--rate {rate:g}: give the images that are trained on per second, such as 500")
    if dry_run and not run:
        raise UsageProblem("--dry-run shows what --run would train; add --run")
    if dry_run and in_group():
        raise UsageProblem("--dry-run needs one process; leave torchrun out")


def estimated(
    planned: "Sequence[Planned]",
    known: "Known",
    display: "Display",
    *,
    rate: float | None,
    probe: bool,
    device: str | None,
    workers: int | None = None,
) -> "Costs":
    """The cost of a graph of runs; see ``oltr_cli.pipeline.estimates``."""
    from oltr_cli.pipeline.estimates import costs
    from oltr_cli.pipeline.rates import measured_rates, probed_rates, stated_rate
    from oltr_cli.runs.folder import runs_root

    if rate is not None:
        of = stated_rate(rate)
    elif probe:
        of = probed_rates(known, planned[-1].link.recipe.data, device, workers, display)
    else:
        of = measured_rates(device)
    return costs(planned, known, of, runs_root())


def show_plan(planned: "list[Planned]", as_json: bool, display: "Display", **how: Any) -> None:
    """Print what would run: each run of the chain, its steps, its status, and what is left of it.

    Args:
        how: as ``estimated`` takes it; without a rate or a probe there is the plan alone, which needs no torch.
    """
    from oltr_cli.base.text import counted
    from oltr_cli.data.feed.sampling import steps_per_epoch

    images, classes, known = _size(planned[-1], display)
    _warn_of_damaged(planned, display)
    if known is not None:
        check_before(planned, known)
    plans: list[dict[str, Any]] = []
    for p in planned:
        train = p.link.recipe.train
        steps = steps_per_epoch(images, train.batch_size)
        plans.append(
            {"epochs": p.epochs, "steps_per_epoch": steps, "steps": steps * p.epochs, "sampler": train.sampler}
        )
    if not as_json:
        print(f"{planned[-1].run.dataset}: {counted(images, 'training image')} of {counted(classes, 'class')}")
        for p, row in zip(planned, plans, strict=True):
            origin = f"from {p.parent.name}" if p.parent else "from nothing"
            work = (
                f"{counted(row['epochs'], 'epoch')} × {counted(row['steps_per_epoch'], 'step')} = "
                f"{counted(row['steps'], 'step')}, "
                f"{row['sampler']} sampling"
                if row["epochs"]
                else "nothing to train"
            )
            print(f"  {p.run.name}  {p.run.status()}: {work}, {origin}")
    costs = None
    asked = how["rate"] is not None or how["probe"]
    if known is not None and asked:
        sys.stdout.flush()
        display.starting_torch()
        costs = estimated(planned, known, display, **how)
    if as_json:
        nothing: dict[str, Any] = {"steps_left": 0, "seconds": 0.0} if known is None else {}
        left = left_as_json(costs) if costs else [nothing for _ in planned]
        runs = [
            {
                "run": p.run.name,
                "status": p.run.status(),
                "starts_from": p.parent.name if p.parent else None,
                **row,
                **its,
            }
            for p, row, its in zip(planned, plans, left, strict=True)
        ]
        sums = {"total": total(costs)} if costs else {}
        print_json({"images": images, "classes": classes, "runs": runs, **sums})
        return
    if costs is not None:
        show(costs, display)
    elif known is not None:
        print("for its disk and time, add --probe (20 steps of each kind of run) or --rate IMAGES_PER_SECOND")
    done = planned[-1].run.status() == "done"
    print(f"nothing was written; leave out --dry-run to {'see its result' if done else 'start'}", file=sys.stderr)


def check_before(planned: "Sequence[Planned]", known: "Known") -> None:
    """What training would find wrong before its first step, as far as it is known without torch.

    Raises:
        UsageProblem, DataProblem: see ``check_adapters`` and ``check_outliers``.
    """
    from oltr_cli.pipeline.problems import check_adapters, check_outliers

    unfinished = [p for p in planned if p.run.status() != "done"]
    check_adapters(unfinished)
    check_outliers(unfinished, known.size.splits)


def possible(nodes: "Sequence[Node]", known: "Known") -> "tuple[list[Planned], list[tuple[str, OltrError]]]":
    """The runs that can be made, and what was asked for that cannot be, with the reason."""
    there: list[Planned] = []
    problems: list[tuple[str, OltrError]] = []
    for node in nodes:
        try:
            check_before(node.chain, known)
            there.append(node.planned)
        except OltrError as problem:
            problems.append((node.label, problem))
    return there, problems


def _size(last: "Planned", display: "Display") -> "tuple[int, int, Known | None]":
    """Training images and classes, and the dataset; for a finished run from its result, without its dataset."""
    from oltr_cli.pipeline.problems import unscored_sets, warn_of_other_lists

    if (result := last.run.result()) is not None:
        warn_of_other_lists(last, result, display)
        if sets := unscored_sets(last, result):
            display.warn(
                f"{last.run.name} lacks scores of {', '.join(sets)}; repeat the oltr run command without --dry-run"
            )
        return sum(result.class_counts), len(result.class_counts), None
    known = _known(last, display)
    return known.size.images("train"), known.size.classes, known


def _known(last: "Planned", display: "Display") -> "Known":
    """The dataset of the runs, or its published size, with a warning."""
    from oltr_cli.pipeline.estimates import known_dataset

    known = known_dataset(last.link.recipe.data)
    if known.opened is None:
        display.warn(f"{last.run.dataset} is not here; its published size is used")
    return known


def _warn_of_damaged(planned: "Sequence[Planned]", display: "Display") -> None:
    """What would stop these runs is told now."""
    for p in planned:
        try:
            p.run.result()
        except DataProblem as problem:
            display.warn(str(problem))


def show_graph(graph: "Graph", display: "Display", *, as_json: bool, **how: Any) -> None:
    """Print what would be made of a graph of runs.

    Args:
        how: as ``estimated`` takes it.
    Raises:
        OltrError: no run can be planned.
    """
    from oltr_cli.base.text import counted

    nodes = list(graph.nodes.values())
    refused = [(wanted.label, problem) for wanted, problem in graph.refused]
    if not nodes:
        raise refused[0][1] if refused else UsageProblem("there is nothing to run")
    last = nodes[-1].planned
    known = _known(last, display)
    planned, problems = possible(nodes, known)
    for label, problem in refused + problems:
        display.warn(f"{label}: {problem}")
    if not planned:
        raise problems[0][1]
    _warn_of_damaged(planned, display)
    display.starting_torch()
    costs = estimated(planned, known, display, **how)
    if as_json:
        runs = [
            {"run": p.run.name, "status": e.status, "starts_from": p.parent.name if p.parent else None, **its}
            for p, e, its in zip(planned, costs.estimates, left_as_json(costs), strict=True)
        ]
        images, classes = known.size.images("train"), known.size.classes
        print_json({"images": images, "classes": classes, "runs": runs, "total": total(costs)})
        return
    done = sum(e.status == "done" for e in costs.estimates)
    print(f"{last.run.dataset}: {counted(len(planned), 'run')}, of which {done} finished")
    show(costs, display)
    print("nothing was written; leave out --dry-run to start", file=sys.stderr)
