"""What can go wrong around a run: lists that changed since it finished, and what the machine runs out of."""

import shlex
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress

from oltr_cli.base.display import Display
from oltr_cli.base.machine import in_group, is_main_process
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, OltrError, UsageProblem, first_line
from oltr_cli.planning.plan import Planned
from oltr_cli.protocol.open_sets import OUTLIERS, is_open_set
from oltr_cli.runs.result import RunResult


def check_adapters(planned: Sequence[Planned]) -> None:
    """Check that runs that train adapters or LoRA have something to adapt, before anything is trained.

    Raises:
        UsageProblem: the backbone has no weights of its own, only its features would be read, or peft is missing.
    """
    for p in planned:
        if p.link.recipe.train.lora:
            from oltr_cli.networks.lora import check_peft

            check_peft()
            if p.parent is None and not p.link.recipe.backbone.weights:
                raise UsageProblem(
                    f"{p.about.name}: train.lora keeps the weights of a pre-trained transformer, and backbone.weights "
                    "names none; for example --set backbone.name=timm/vit_small_patch16_224 --weights hub"
                )
        if not p.about.adapts_blocks:
            continue
        if p.link.recipe.train.freeze:
            raise UsageProblem(
                f"{p.about.name}: keeps the backbone's weights anyway and trains adapters inside of it; set "
                "train.freeze to none"
            )
        if p.link.recipe.train.freeze_backbone:
            raise UsageProblem(
                f"{p.about.name}: keeps the backbone's weights anyway and trains adapters inside of it, and with "
                "train.freeze_backbone no image is read; set train.freeze_backbone to false"
            )
        if p.parent is None and not p.link.recipe.backbone.weights:
            raise UsageProblem(
                f"{p.about.name}: keeps the weights of a pre-trained transformer, and backbone.weights names none; for "
                "example --set backbone.name=timm/vit_small_patch16_224 --weights hub"
            )


def check_outliers(planned: Sequence[Planned], splits: Container[str]) -> None:
    """Check that methods that train on outliers can do so, before anything is trained.

    Args:
        splits: names of those that the dataset has.
    Raises:
        UsageProblem: one of them trains on saved features.
        DataProblem: the dataset has no outliers.
    """
    for p in planned:
        if not p.about.uses_outliers:
            continue
        if p.about.on_features:
            raise UsageProblem(f"{p.about.name}: a method on saved features cannot use outliers, which have none")
        if p.link.recipe.train.freeze_backbone:
            raise UsageProblem(
                f"{p.about.name}: trains on images of outliers, and with train.freeze_backbone no image is read; set "
                "train.freeze_backbone to false"
            )
        if OUTLIERS not in splits:
            raise DataProblem(
                f"{p.about.name}: trains on outliers, and '{p.run.dataset}' has none; list images of classes that are "
                f"neither known nor open in {OUTLIERS}.txt, beside its other lists, with the label -1 "
                "(docs/datasets.md)"
            )


def unscored_sets(p: Planned, result: RunResult) -> list[str]:
    """Further open sets that were added to the lists, or changed, since a run was finished.

    None if its other lists have changed: the run keeps its result, see ``warn_of_other_lists``.
    """
    from oltr_cli.data.feed.opening import further_lists, other_lists

    with suppress(DataProblem):
        data = p.link.recipe.data
        there = {split: digest for split, digest in further_lists(data).items() if is_open_set(split)}
        scored = result.further_lists or {}
        new = [split for split, digest in there.items() if scored.get(split) != digest]
        if new and result.data_digest is not None and other_lists(data, result.data_digest) is None:
            return new
    return []


def warn_of_other_lists(p: Planned, result: RunResult, display: Display) -> None:
    """Warn if lists or class names have changed since a finished run; without the lists, its result is still valid."""
    if not is_main_process():
        return
    from oltr_cli.data.feed.opening import further_lists, misnamed_lists, names_now, other_lists

    for problem in misnamed_lists(p.link.recipe.data):
        display.warn(problem)  # a new run is refused; here the list was added later, and would be passed over
    with suppress(DataProblem):
        if (other := other_lists(p.link.recipe.data, result.data_digest)) is not None:
            lists, digest = other
            display.warn(
                f"the lists in {lists} have changed since {p.run.name}, which keeps its result; for a run on them, set "
                f'data.lists_digest to "{digest}"'
            )
            return
        outliers = (result.further_lists or {}).get(OUTLIERS)
        listed = p.link.recipe.data.kind == "lists"
        if listed and outliers not in (None, further_lists(p.link.recipe.data).get(OUTLIERS)):
            display.warn(
                f"the list of outliers has changed since {p.run.name}, which keeps its result; to train on it as it is "
                f"now, type: oltr rm {shlex.quote(p.run.name)}, then this command"
            )
        names = names_now(p.link.recipe.data, len(result.class_names))
        if changed := [pair for pair in zip(result.class_names, names, strict=False) if pair[0] != pair[1]]:
            old, new = changed[0]
            display.warn(
                f"classes.txt has other names for {counted(len(changed), 'class')} than {p.run.name}, such as '{new}' "
                f"instead of '{old}'; to rename it for existing runs too, put '{old}' back and type: oltr data rename "
                f"{shlex.join([p.run.dataset, old, new])}"
            )


@contextmanager
def named_lost_process() -> Iterator[None]:
    """Turn what the others of a group of processes raise after one of them ended into one line."""
    import torch

    try:
        yield
    except RuntimeError as error:
        text = first_line(error)
        broken = isinstance(error, torch.distributed.DistError) or "gloo" in text or "NCCL" in text
        if not (in_group() and broken):
            raise
        raise OltrError(
            "another process of this run ended, and the others cannot go on without it; repeat the oltr run command to "
            "resume"
        ) from error


@contextmanager
def named_shortages() -> Iterator[None]:
    """Turn an error of a machine that runs out of something into one line that says what to do."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OltrError(f"out of GPU memory; lower train.batch_size ({first_line(error)})") from error
    except ValueError as error:
        if "more than 1 value per channel" in str(error):  # torch's batch norm
            raise UsageProblem(
                "batch norm needs two values of each channel, and this batch gives one; raise train.batch_size or "
                "data.image_size"
            ) from error
        raise
    except RuntimeError as error:
        text = first_line(error)
        if "DataLoader worker" in text:
            raise OltrError(
                f"a loading process was killed, perhaps because memory ran out; try --workers 0 ({text})"
            ) from error
        if "can't allocate memory" in text:
            raise OltrError(f"out of memory; lower train.batch_size ({text})") from error
        raise
