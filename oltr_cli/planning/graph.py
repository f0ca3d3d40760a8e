"""The runs that several requests need together, as a graph: each run once, after the run that it starts from.

Nothing is written, and nothing needs torch.
"""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from oltr_cli.errors import OltrError, UsageProblem, nearest, released
from oltr_cli.planning import plan as planning
from oltr_cli.planning.plan import Planned
from oltr_cli.runs.folder import Run


@dataclass(frozen=True)
class Wanted:
    """A run that was asked for, as ``oltr run`` takes it.

    Attributes:
        label: names it in messages, as "dme, seed 0".
        option: gives a command line the recipe, with the files that were added, as ``Source.option``.
        start: of ``--from``.
    """

    label: str
    method: str
    recipe: str
    option: str
    sets: tuple[str, ...] = ()
    seed: int = 0
    start: Run | None = None


@dataclass(frozen=True)
class Node:
    """One run of a graph.

    Attributes:
        chain: the run after all runs of the graph that it starts from.
        wanted: the first request that needs it.
    """

    chain: tuple[Planned, ...]
    wanted: Wanted

    @property
    def planned(self) -> Planned:
        return self.chain[-1]

    @property
    def run(self) -> Run:
        return self.planned.run

    @property
    def parent(self) -> Run | None:
        """The run of the graph that it starts from."""
        return self.chain[-2].run if len(self.chain) > 1 else None

    @property
    def label(self) -> str:
        """The request that it is or belongs to."""
        return self.wanted.label

    def arguments(self) -> list[str]:
        """``run METHOD …``: the arguments of the command that makes this run, and those that it starts from."""
        base, _, detector = self.wanted.method.partition(planning.PLUS)
        words = ["run", base, *(["--detector", detector] if detector else []), *shlex.split(self.wanted.option)]
        words += [word for assignment in self.wanted.sets for word in ("--set", assignment)]
        words += ["--from", self.wanted.start.name] if self.wanted.start else []
        words += ["--seed", str(self.run.seed)] if self.run.seed else []
        return words if self.is_wanted else [*words, "--until", self.run.method]

    @property
    def is_wanted(self) -> bool:
        """Whether it is what the request asks for, rather than a run before that."""
        return self.run.method == planning.canonical(self.wanted.method)

    def command(self) -> str:
        """``arguments`` as a line to type."""
        return shlex.join(["oltr", *self.arguments()])


@dataclass
class Graph:
    """Runs in the order in which one process makes them: what starts from nothing, what starts from it, detectors.

    Attributes:
        nodes: by run.
        wanted: each request with its run.
        refused: requests that have no run, and why.
    """

    nodes: dict[Run, Node] = field(default_factory=dict)
    wanted: list[tuple[Wanted, Run]] = field(default_factory=list)
    refused: list[tuple[Wanted, OltrError]] = field(default_factory=list)

    def above(self, run: Run) -> Iterator[Run]:
        """The runs that ``run`` starts from, the nearest first."""
        for planned in reversed(self.nodes[run].chain[:-1]):
            yield planned.run


def build_graph(wanted: Iterable[Wanted]) -> Graph:
    """The graph of all runs that the requests need; one that cannot be planned is refused by itself."""
    graph = Graph()
    plans: dict[Wanted, list[Planned] | OltrError] = {}
    nodes: dict[Run, Node] = {}
    for one in wanted:
        alike = replace(one, label="", seed=0)  # a recipe is resolved once for all seeds
        if alike not in plans:
            plans[alike] = _planned(alike)
        found = plans[alike]
        if isinstance(found, OltrError):
            graph.refused.append((one, found))
            continue
        chain = with_seed(found, one.seed)
        for length, planned in enumerate(chain, start=1):
            node = Node(tuple(chain[:length]), one)
            if planned.run not in nodes or (node.is_wanted and not nodes[planned.run].is_wanted):
                nodes[planned.run] = node
        graph.wanted.append((one, chain[-1].run))
    order = sorted(nodes.values(), key=lambda node: (node.planned.is_detector, len(node.chain)))
    graph.nodes = {node.run: node for node in order}
    return graph


def with_seed(chain: list[Planned], seed: int) -> list[Planned]:
    """The same chain for another seed: what it starts from outside of the chain stays."""
    seeds = {p.run: replace(p.run, seed=seed) for p in chain}
    return [replace(p, run=seeds[p.run], parent=seeds.get(p.parent, p.parent) if p.parent else None) for p in chain]


def until(chain: list[Planned], name: str) -> list[Planned]:
    """The chain up to the run of the method ``name``.

    Raises:
        UsageProblem: none of its runs is of that method.
    """
    names = [p.run.method for p in chain]
    if name not in names:
        raise UsageProblem(f"--until {name}: {names[-1]} has no such run before it{nearest(name, names)}")
    return chain[: names.index(name) + 1]


def _planned(wanted: Wanted) -> list[Planned] | OltrError:
    try:
        return planning.plan(wanted.method, wanted.recipe, list(wanted.sets), 0, wanted.start)
    except OltrError as error:
        return released(error)
