"""The recipe of a dataset built from your own photographs, sized by the number and the size of the images."""

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import tomli_w

from oltr_cli.base.files import parse_toml
from oltr_cli.base.text import counted
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.recipe.backbones import BACKBONES, HUB, TORCHVISION, torchvision_file
from oltr_cli.recipe.files import BUILT_RECIPE
from oltr_cli.recipe.home import weights_file
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.timm_names import PREFIX, check_timm_name
from oltr_cli.runs.made_with import hint

IMAGES_PER_CLASS = 4
BATCHES = (16, 128)  # smallest and largest; in between, the largest that gives an epoch 16 steps or more
STEPS = {"stage1": 2000, "stage2": 600}  # targets: a small set needs many epochs for as many steps
EPOCHS = {"stage1": (10, 60), "stage2": (5, 25)}
# Lines of [data] that say where the lists are and which they are, not how to train.
_OF_THE_BUILD = re.compile(
    r"""(?m)^(\s*(root|lists|lists_digest)\s*=\s*)("(?:[^"\\\n]|\\.)*"|'[^'\n]*')(?=\s*(?:#|$))"""
)
PIXELS, PIXELS_PRETRAINED, LEAST_PIXELS = 64, 224, 16


@dataclass(frozen=True)
class Sizing:
    """Size and network as the user gave them; None and "" leave the choice to the images."""

    image_size: int | None = None
    backbone: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        """Check now what a run would refuse later.

        Raises:
            UsageProblem: no such network, no such file, or no torchvision weights for the network.
        """
        plugin = BACKBONES.named(self.network)
        if plugin is None:
            raise UsageProblem(f"--backbone {self.backbone}: no such backbone{hint(self.backbone, BACKBONES.find())}")
        if self.network.startswith(PREFIX):
            check_timm_name(self.network)
        if not plugin.class_name:
            BACKBONES.load(self.network)  # says what is wrong with its file
        if self.weights == TORCHVISION:
            torchvision_file(BackboneSpec(name=self.network))
        elif self.weights == HUB and not self.network.startswith(PREFIX):
            raise UsageProblem(f"--weights {HUB}: give one of timm's models with it, --backbone {PREFIX}NAME")
        elif self.weights not in ("", HUB) and not weights_file(self.weights).is_file():
            raise UsageProblem(f"--weights {self.weights}: no such file; give a file, {TORCHVISION} or {HUB}")

    @property
    def network(self) -> str:
        return self.backbone or ("resnet18" if self.weights else "resnet10")

    @property
    def has_stem(self) -> bool:
        """Whether the network has stems to choose from."""
        plugin = BACKBONES.named(self.network)
        return plugin is not None and "stem" in plugin.facts.get("keys", ())

    @property
    def given(self) -> bool:
        """Whether the user chose any of it."""
        return self != Sizing()

    def pixels(self, typical: int) -> tuple[int, int]:
        """(image_size, eval_resize) for images with a shorter side of ``typical``; only tiny images are enlarged. From
        larger ones evaluation cuts off a border, as is usual."""
        wanted = PIXELS_PRETRAINED if self.weights else PIXELS
        size = self.image_size or max(LEAST_PIXELS, min(wanted, typical // 4 * 4))
        bordered = round(size * 8 / 7)
        return size, bordered if typical >= bordered else size


def recipe_text(
    name: str, root: Path, lists: Path, digest: str, counts: list[int], sides: list[int], sizing: Sizing, as_is: bool
) -> str:
    """A recipe file whose comments explain its numbers.

    Args:
        root, lists: absolute folders of the images and of the list files; ``digest``: of the lists.
        counts: training images of each class.
        sides: shorter side in pixels of every image.
    """
    images = sum(counts)
    batch, largest_batch = BATCHES
    while batch < largest_batch and images >= 2 * batch * 16:
        batch *= 2
    steps = max(1, images // batch)
    epochs = {s: min(max(round(STEPS[s] / steps), low), high) for s, (low, high) in EPOCHS.items()}
    typical = median_low(sides)
    size, resize = sizing.pixels(typical)
    weights = sizing.weights
    if weights not in ("", TORCHVISION, HUB):
        weights = str(weights_file(weights).absolute())
    scale = batch / largest_batch  # of learning rates, which were tuned for the largest batch
    rate = (0.01 if weights else 0.2) * scale
    fresh, slow, fast = 0.2 * scale, 0.01 * scale, 0.1 * scale
    stem = "imagenet" if size >= 48 or weights or not sizing.has_stem else "small-stride2"
    tail = "as found" if as_is else "a drawn Pareto tail"
    spread = f"{min(counts)}–{max(counts)} per class, {tail}"
    contents = f"{counted(len(counts), 'class')}, {counted(images, 'training image')}"
    return f"""# {name}: your own photographs, {contents} ({spread}).

# Written by oltr data build. Half of the photographs have a shorter side of {typical} px or more. A larger image_size
# and a deeper network need a GPU; pre-trained weights (oltr data build --weights torchvision) help most of all.

[data]
{_line("name", name)}
kind = "lists"
{_line("root", str(root))}
{_line("lists", str(lists))}
{_line("lists_digest", digest)}  # a run on other lists is another run
image_size = {size}
eval_resize = {resize}
crop_scale = [0.35, 1.0]
flip = true               # false where left and right differ, as in writing and road signs
color_jitter = [0.2, 0.2, 0.2]

[backbone]
{_line("name", sizing.network)}
{_line("stem", stem)}
{_line("weights", weights)}

[stage1]                  # methods that start from nothing
epochs = {epochs["stage1"]}
batch_size = {batch}
sampler = "instance"
schedule = "onecycle"
lr = {{ features = {rate:.4g}, classifier = {fresh:.4g} }}

[stage2]                  # methods that start from a stage1 run
epochs = {epochs["stage2"]}
batch_size = {batch}
sampler = "class_aware"
images_per_class = {IMAGES_PER_CLASS}
schedule = "cosine"
lr = {{ features = {slow:.4g}, classifier = {fast:.4g}, centroids = {slow:.4g} }}
"""


def renewed(old: str, new: str) -> str:
    """The recipe ``old`` with the folders, the digest and the first line of ``new``.

    Raises:
        DataProblem: [data] of ``old`` is laid out in another way, so that these cannot be replaced.
    """
    values = {match[2]: match[3] for match in _OF_THE_BUILD.finditer(new)}
    text = _OF_THE_BUILD.sub(lambda match: match[1] + values[match[2]], old)
    if old.startswith(new.partition(",")[0]):  # the first line counts classes and images
        text = new.partition("\n")[0] + text[text.index("\n") :]
    before, after, wanted = (parse_toml(recipe) for recipe in (old, text, new))
    of_the_build = {key: wanted["data"][key] for key in values}
    if after != {**before, "data": {**before["data"], **of_the_build}}:
        raise DataProblem(
            f"{BUILT_RECIPE}: its lists_digest cannot be renewed, because root, lists and lists_digest are not on "
            'lines of the form KEY = "VALUE"; write them so, or use --fresh-recipe'
        )
    return text


def same_settings(one: str, other: str) -> bool:
    """Whether two recipes differ at most in what ``renewed`` replaces."""
    first, second = (_OF_THE_BUILD.sub("", text.partition("\n")[2]) for text in (one, other))
    return first == second


def _line(key: str, value: str) -> str:
    """``key = "value"`` with TOML's escapes, which differ slightly from JSON's."""
    return tomli_w.dumps({key: value}).strip()
