"""Answers wider than one class, beside a verdict: a label set with a promise, and a taxon above the classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oltr_cli.base.text import counted, number, shortest, some, visible
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.inference.hub_format import is_hub_folder
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.protocol.label_sets import LabelSets, SetRule, calibrate, probabilities
from oltr_cli.protocol.taxonomy import Taxonomy, check_at_least, read_taxonomy
from oltr_cli.runs.scores import SavedScores

AT_LEAST = 0.9  # probability that a taxon must reach
ANY = "any class"
_SHOWN = 10  # names of a set in a line for people


@dataclass(frozen=True)
class Taxon:
    """The most specific node that is probable enough.

    Attributes:
        name: None if only all classes together are.
        probability: of the classes below it.
        classes: their number.
    """

    name: str | None
    probability: float
    classes: int


@dataclass(frozen=True)
class Wider:
    """What is known of one image; None is not asked for.

    Attributes:
        label_set: names of its classes, those with the highest score first.
    """

    label_set: list[str] | None = None
    taxon: Taxon | None = None


@dataclass(frozen=True)
class WiderAnswers:
    """What is asked for, ready for a run's scores."""

    names: list[str]
    sets: LabelSets | None = None
    tree: Taxonomy | None = None
    at_least: float = AT_LEAST

    @classmethod
    def of(
        cls,
        recogniser: Recogniser,
        rule: SetRule | None,
        taxonomy: Path | None,
        at_least: float | None,
        before: LabelSets | None = None,
    ) -> "WiderAnswers | None":
        """Calibrated on the validation scores of the run; None if nothing is asked for.

        Args:
            before: sets that were calibrated for this recogniser, taken if their rule is the same.
        Raises:
            UsageProblem: ``at_least`` is out of range or without a taxonomy, or an exported folder has no scores.
            DataProblem: validation scores or the taxonomy cannot be used.
        """
        if at_least is not None and taxonomy is None:
            raise UsageProblem("a probability that a taxon must reach needs a taxonomy: add --taxonomy FILE.csv")
        if rule is None and taxonomy is None:
            return None
        level = check_at_least(AT_LEAST if at_least is None else at_least)
        tree = None if taxonomy is None else read_taxonomy(taxonomy.expanduser(), recogniser.class_names)
        sets = before if before is not None and before.rule == rule else None
        if rule is not None and sets is None:
            sets = calibrate(rule, _validation(recogniser), recogniser.class_counts)
        return cls(recogniser.class_names, sets, tree, level)

    def answers(self, scores: SavedScores) -> list[Wider]:
        """For each of the B images, from logits (B, K)."""
        assert scores.logits is not None
        sets: list[list[str] | None] = [None] * len(scores)
        taxa: list[Taxon | None] = [None] * len(scores)
        if self.sets is not None:
            values = self.sets.scores(scores.logits)
            sizes = (values >= self.sets.thresholds).sum(axis=1)
            # Members first, each part by falling score: thresholds differ between classes.
            order = np.lexsort((-values, values < self.sets.thresholds), axis=1)
            sets = [
                [self.names[label] for label in row[:size]] for row, size in zip(order.tolist(), sizes, strict=True)
            ]
        if self.tree is not None:
            nodes, shares = self.tree.most_specific(probabilities(scores.logits), self.at_least)
            taxa = [self._taxon(node, share) for node, share in zip(nodes.tolist(), shares.tolist(), strict=True)]
        return [Wider(one, taxon) for one, taxon in zip(sets, taxa, strict=True)]

    def _taxon(self, node: int, share: float) -> Taxon:
        assert self.tree is not None
        if node < 0:
            return Taxon(None, 1.0, len(self.names))
        return Taxon(self.tree.names[node], shortest(share), int(self.tree.sizes[node]))

    @property
    def texts(self) -> list[str]:
        """How the answers come about, for people, one line each."""
        lines = []
        if self.sets is not None:
            rule, few = self.sets.rule, self.sets.few_text
            images = counted(int(self.sets.samples.sum()), "validation image")
            lines.append(f"label sets: {rule.text}; calibrated on {images}")
            if few:
                named = "" if len(self.sets.few) == len(self.names) else f": {self._named(self.sets.few.tolist())}"
                lines.append(few + named)
        if self.tree is not None:
            nodes = counted(len(self.tree.names), "node")
            lines.append(f"taxonomy of {nodes}: the most specific one with a probability of at least {self.at_least:g}")
        return lines

    @property
    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        facts: dict[str, Any] = {}
        if self.sets is not None:
            rule = self.sets.rule
            facts["sets"] = {
                "coverage": rule.coverage,
                "score": rule.score,
                "class_weight": rule.class_weight,
                "guaranteed": rule.guaranteed,
                "calibrated_on": int(self.sets.samples.sum()),
                "few": [self.names[label] for label in self.sets.few.tolist()],
            }
        if self.tree is not None:
            facts["at_least"] = self.at_least
        return facts

    def _named(self, labels: list[int]) -> str:
        return some([visible(self.names[label]) for label in labels])


def _validation(recogniser: Recogniser) -> SavedScores:
    """Validation scores with logits: those of the run itself or, of a detector's run, of the one under it."""
    if is_hub_folder(recogniser.run.root):
        raise UsageProblem("label sets: an exported folder has no validation scores to calibrate on; name the run")
    file = recogniser.base.scores("val")
    try:
        return SavedScores.load(file)
    except DataProblem as problem:
        raise DataProblem(f"{problem}; label sets are calibrated on it") from None


def record(wider: Wider) -> dict[str, Any]:
    """The keys of a JSON row."""
    keys: dict[str, Any] = {}
    if wider.label_set is not None:
        keys["set"] = wider.label_set
    if wider.taxon is not None:
        keys["taxon"] = vars(wider.taxon)
    return keys


def said(wider: Wider, asked: WiderAnswers) -> list[str]:
    """Lines for people."""
    lines = []
    if wider.label_set is not None:
        size, shown = len(wider.label_set), [visible(name) for name in wider.label_set[:_SHOWN]]
        more = ", …" if size > _SHOWN else ""
        listed = f": {', '.join(shown)}{more}" if size else ""
        lines.append(f"set of {size:,} of {len(asked.names):,} classes{listed}")
    if wider.taxon is not None:
        share, classes = number(wider.taxon.probability), counted(wider.taxon.classes, "class")
        lines.append(f"{taxon_name(wider.taxon, asked.names)}, {share}, {classes}")
    return lines


def taxon_name(taxon: Taxon, class_names: list[str]) -> str:
    """``barn owl`` for a class, ``some owl`` for what is above several, ``any class`` for all."""
    if taxon.name is None:
        return ANY
    return visible(taxon.name) if taxon.classes == 1 and taxon.name in class_names else f"some {visible(taxon.name)}"
