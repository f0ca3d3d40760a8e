"""README.md of an exported folder: a model card in the form of the Hugging Face hub, metadata before text."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oltr_cli.base.text import counted, visible
from oltr_cli.errors import OltrError
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.planning.registry import METHODS, PLUS
from oltr_cli.protocol.catalogue import GROUPS, METRICS
from oltr_cli.protocol.evaluate import evaluate_scores
from oltr_cli.protocol.shots import DEFINITIONS, shot_groups
from oltr_cli.recipe.backbones import HUB, TORCHVISION
from oltr_cli.recipe.timm_names import PREFIX
from oltr_cli.runs.choices import ChosenThreshold
from oltr_cli.runs.result import Metrics
from oltr_cli.runs.scores import SavedScores

CLOSED = ("closed/overall", *(f"closed/{group}" for group in GROUPS))
OPEN = ("open/overall", "open/f_measure", "open/auroc", "open/fpr95", "open/aupr_out", "open/oscr")
RULES = {
    "fixed": "a fixed number",
    "id_quantile": "the largest that accepts the given share of the validation images of known classes",
    "group_quantile": "for each shot group, the largest that accepts the given share of its validation images",
    "class_quantile": "for each class, the largest that accepts the given share of its validation images",
    "val_open": "the one with the best F-measure on validation images of known and of open classes",
}
NAMED = 30  # classes that are listed


def model_card(recogniser: Recogniser, folder: str) -> str:
    """The text of README.md for a run that is exported to a folder of that name."""
    metrics, threshold = measured(recogniser)
    sections = [
        *(_front_matter(recogniser, metrics), f"# {_text(recogniser.run.method)} on {_text(recogniser.run.dataset)}"),
        _what_it_does(recogniser),
        *("## Use", _use(recogniser, folder)),
        *("## Trained on", _trained_on(recogniser)),
        *("## Figures", _figures(recogniser, metrics, threshold)),
        *("## The threshold", _threshold(recogniser)),
        *("## Limits", _limits(recogniser)),
    ]
    return "\n\n".join(sections) + "\n"


def measured(recogniser: Recogniser) -> tuple[Metrics, ChosenThreshold]:
    """The run's metrics on its test set, and the τ at which they hold.

    It is the exported τ, and the exported confidence, where the run's saved scores are there; else the run's own.
    """
    result, run = recogniser.result, recogniser.run
    try:
        known = SavedScores.load(run.scores("test"))
        open_ = SavedScores.load(run.scores("open")) if run.scores("open").exists() else None
        if recogniser.detector is not None and run == recogniser.base:  # one that was chosen for the run
            known = recogniser.detector.score(known)
            open_ = None if open_ is None else recogniser.detector.score(open_)
        evaluated = evaluate_scores(known, open_, result.class_counts, recogniser.chosen, result.shots)
    except OltrError:
        return result.metrics, result.threshold
    return evaluated.metrics, recogniser.chosen


def _front_matter(recogniser: Recogniser, metrics: Metrics) -> str:
    """YAML. No licence: nobody has said which one the weights have."""
    run, backbone = recogniser.run, recogniser.recipe.backbone.name
    method, _, detector = run.method.partition(PLUS)
    tags = ["oltr", "image-classification", "long-tailed-recognition", "open-set-recognition", method, detector]
    tags += ["timm"] if backbone.startswith(PREFIX) else []
    # The hub's names have no spaces.
    dataset = re.sub(r"[^\w.-]+", "-", run.dataset)
    lines = ["library_name: oltr", "pipeline_tag: image-classification", "tags:"]
    lines += [f"- {_quoted(tag)}" for tag in dict.fromkeys(tags) if tag]
    lines += ["datasets:", f"- {_quoted(dataset)}", "metrics:", "- accuracy"]
    figures = {name: metrics[name] for name in (*CLOSED, *OPEN) if metrics.get(name) is not None}
    if figures:
        lines += ["model-index:", f"- name: {_quoted(run.name)}", "  results:"]
        lines += ["  - task:", "      type: image-classification"]
        lines += ["    dataset:", f"      name: {_quoted(run.dataset)}", f"      type: {_quoted(dataset)}"]
        lines += ["      split: test", "    metrics:"]
        for name, value in figures.items():
            kind = "accuracy" if name == CLOSED[0] else name
            lines += [f"    - type: {_quoted(kind)}", f"      value: {value!r}"]
            lines += [f"      name: {_quoted(METRICS[name].label)}"]
    return "\n".join(["---", *lines, "---"])


def _what_it_does(recogniser: Recogniser) -> str:
    plugin = METHODS.find().get(recogniser.run.method.partition(PLUS)[0])
    what = f"\n\nMethod: {visible(plugin.summary)}" if plugin is not None and plugin.summary else ""
    names = recogniser.class_names
    listed = ", ".join(_text(name) for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return (
        f"It says which of {counted(len(names), 'class')} an image shows, or that it shows none of them (open-set "
        f"recognition). It was trained on long-tailed data with oltr, so some classes "
        f"had many images and others few.\n\nClasses: {listed}. All names are in `config.json`.{what}"
    )


def _use(recogniser: Recogniser, folder: str) -> str:
    timm = recogniser.recipe.backbone.name.startswith(PREFIX)
    name = folder if re.fullmatch(r"[\w.-]+", folder) else "FOLDER"
    added = [
        part
        for part in recogniser.run.method.split(PLUS)
        if (plugin := METHODS.find().get(part)) is None or plugin.origin != "built-in"
    ]
    own = f"\n\nIts method {', '.join(added)} is not part of oltr: add `--methods-from FILE.py`." if added else ""
    return f"""```bash
pip install {"'oltr[timm]'" if timm else "oltr"}
oltr predict {name} photo.jpg shots/
```

```python
from oltr_cli import Recogniser

model = Recogniser.load("{name}")
for verdict in model.predict(["photo.jpg"]):  # paths, Pillow images or uint8 arrays (H, W, 3)
    print(verdict.label, verdict.confidence)  # "unknown" for what belongs to no class
```

`model.safetensors` holds the weights, `config.json` everything else that is needed: recipe, class names, how images are
resized, cropped and normalised, and the threshold. Neither contains code.{own}"""


def _trained_on(recogniser: Recogniser) -> str:
    result, recipe = recogniser.result, recogniser.recipe
    counts = result.class_counts
    rows = [
        ("dataset", _text(result.dataset)),
        ("training images", f"{sum(counts):,}, from {max(counts):,} to {min(counts):,} per class"),
        ("backbone", f"`{recipe.backbone.name}`, {_first_weights(recipe.backbone.weights)}"),
        ("image size", f"{recipe.data.image_size} pixels"),
    ]
    if result.starts_from is not None:
        rows.append(("starts from", f"`{visible(result.starts_from)}`"))
    if result.epochs_total:
        best = f"; the weights are those of epoch {result.best_epoch} of the last" if result.best_epoch else ""
        rows.append(("epochs", f"{result.epochs_total}, of all stages together{best}"))
    rows.append(("seed", str(result.seed)))
    groups = shot_groups(counts, result.shots)
    sizes = [
        (group, within, f"{int(mask.sum()):,}")
        for (group, mask), within in zip(groups.items(), DEFINITIONS[result.shots], strict=True)
    ]
    return (
        _table(("", ""), rows)
        + "\n\nShot groups, by training images per class:\n\n"
        + _table(("group", "training images per class", "classes"), sizes)
    )


def _figures(recogniser: Recogniser, metrics: Metrics, threshold: ChosenThreshold) -> str:
    def rows(names: Sequence[str]) -> list[tuple[str, str]]:
        found = [(METRICS[name], metrics.get(name)) for name in names]
        return [
            (about.label + (" (lower is better)" if about.better == "lower" else ""), _shown(about, value))
            for about, value in found
            if value is not None
        ]

    whose = f"the confidence of {recogniser.detector.name}" if recogniser.detector else "the method's own confidence"
    if threshold != recogniser.chosen:
        whose = "the run's own confidence and threshold"
    closed, open_ = rows(CLOSED), rows(OPEN)
    text = f"Measured on the test set of {_text(recogniser.run.dataset)}, for this run alone."
    if closed:
        text += "\n\nAccuracy on known classes, where every image gets one:\n\n" + _table(("", ""), closed)
    if open_:
        text += f"\n\nWith images of unknown classes, by {whose} at τ = {threshold.shown}:\n\n" + _table(
            ("", ""), open_
        )
    else:
        text += "\n\nIt was not tested on images of unknown classes."
    return text


def _threshold(recogniser: Recogniser) -> str:
    chosen = recogniser.chosen
    rule = (chosen.chosen_by or chosen.rule).partition(":")[0]
    how = f": {RULES[rule]}" if rule in RULES else ""
    pooled = f" {chosen.pooled.text[0].upper()}{chosen.pooled.text[1:]}." if chosen.pooled else ""
    return (
        f"An image is unknown if its confidence is below τ = {chosen.shown}. The rule is `{visible(chosen.text)}`{how}."
        f"{pooled} The images that you meet may differ; `oltr predict --threshold NUMBER` takes another τ."
    )


def _limits(recogniser: Recogniser) -> str:
    few = int(shot_groups(recogniser.class_counts, recogniser.result.shots)["few"].sum())
    rare = (
        f" {counted(few, 'class').capitalize()} had few training images; their predictions are the least certain."
        if few
        else ""
    )
    return (
        f"- It knows only the classes above.{rare}\n"
        "- Confidences rank images; they are no probabilities of being right. Unknown images that look like a class "
        "are accepted, and rare known ones are rejected more often than common ones.\n"
        "- The figures are of one run on one test set. On images from another source they may be much lower; measure "
        "before you rely on it.\n"
        "- Mistakes and omissions of the training data, and of the weights it starts from, are in it. The terms of "
        "both apply; no licence is stated here."
    )


def _first_weights(weights: str) -> str:
    if not weights:
        return "trained from random weights or from the run named below"
    known = {TORCHVISION: "torchvision's ImageNet weights", HUB: "timm's weights from the hub"}
    return f"first weights: {known.get(weights, f'`{visible(Path(weights).name)}`')}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(about: Any, value: float | None) -> str:
    return "" if value is None else about.shown(value) + (" %" if about.unit == "percent" else "")


def _text(name: str) -> str:
    """A name as Markdown shows it, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", visible(name))


def _quoted(text: str) -> str:
    """A YAML string: what JSON quotes, YAML reads."""
    return json.dumps(visible(text), ensure_ascii=False)
