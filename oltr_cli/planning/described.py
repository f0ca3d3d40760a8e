"""What a plan has to know of a method or detector: of built-in ones it is read from text, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oltr_cli.base.added_files import added_files
from oltr_cli.errors import UsageProblem
from oltr_cli.planning.class_attributes import attributes_of
from oltr_cli.planning.registry import METHODS, load_detector, load_method, method_info
from oltr_cli.recipe.backbones import BACKBONES, check_keys
from oltr_cli.recipe.specs import BackboneSpec
from oltr_cli.recipe.timm_names import PREFIX, check_timm_name, timm_models
from oltr_cli.runs.made_with import hint

if TYPE_CHECKING:
    from oltr_cli.detector import Detector
    from oltr_cli.method import Method
    from oltr_cli.recipe.specs import MethodParams


_OF_METHODS = (
    *("Params", "starts_from", "train_defaults", "trains", "uses_outliers", "trains_from_scratch", "mixes"),
    "adapts_blocks",
)


@dataclass(frozen=True)
class Described:
    """A method or detector by its name; the attributes are those of its class (oltr_cli/method.py).

    Attributes:
        on_features: it trains a head on saved features.
        from_scratch: its run starts from nothing instead (``train.from_scratch``).
    """

    name: str
    is_detector: bool
    Params: "type[MethodParams]"
    starts_from: str | None = None
    train_defaults: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = False
    uses_outliers: bool = False
    trains_from_scratch: bool = False
    mixes: bool = False
    adapts_blocks: bool = False
    on_features: bool = False
    from_scratch: bool = False

    def load(self) -> "type[Method] | type[Detector]":
        """Import the class."""
        return load_detector(self.name) if self.is_detector else load_method(self.name)


def described(name: str, *, detector: bool = False) -> Described:
    """The method, or the detector, of that name.

    Raises:
        UsageProblem: there is none, or it is added and cannot be used; see ``load_method`` and ``load_detector``.
    """
    plugin = METHODS.find().get(name)
    if plugin is not None and plugin.origin == "built-in" and plugin.class_name:
        names = ("Params", "starts_from") if detector else _OF_METHODS
        found = attributes_of(plugin.module, plugin.class_name, names)
        if found is not None and (method_info(plugin).kind == "detector") == detector:
            facts = dict(zip(names, found, strict=True))
            return Described(name, detector, on_features=plugin.base == "FeatureMethod", **facts)
    if detector:
        added = load_detector(name)
        return Described(name, True, added.Params, added.starts_from)
    from oltr_cli.method import FeatureMethod

    cls = load_method(name)
    on_features = issubclass(cls, FeatureMethod)
    facts = {attribute: getattr(cls, attribute) for attribute in _OF_METHODS}
    return Described(name, False, on_features=on_features, **facts)


def described_chain(name: str) -> list[Described]:
    """The trained method after all methods that it starts from, the first ancestor first."""
    chain: list[Described] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted in [one.name for one in chain]:
            raise UsageProblem(f"methods start from each other: {' ← '.join(o.name for o in chain)} ← {wanted}")
        chain.append(described(wanted))
        wanted = chain[-1].starts_from
    return chain[::-1]


def method_chain(name: str) -> "list[tuple[str, type[Method]]]":
    """Names and classes of the same chain, imported."""
    return [(method.name, load_method(method.name)) for method in described_chain(name)]


def check_backbone(spec: BackboneSpec) -> None:
    """Check that there is a backbone of that name, and that it uses the keys that ``spec`` sets.

    Raises:
        UsageProblem: as ``load_backbone``, which is asked about added backbones only.
    """
    plugin = BACKBONES.named(spec.name)
    if plugin is not None and plugin.origin == "built-in" and plugin.class_name:
        check_keys(spec, plugin.facts.get("keys", ()))
        if spec.name.startswith(PREFIX):
            check_timm_name(spec.name)
    elif plugin is None and spec.name not in added_files():
        model = spec.name.rpartition("/")[2]
        if model.partition(".")[0] in timm_models():
            raise UsageProblem(f"no backbone '{spec.name}'; did you mean '{PREFIX}{model}'?")
        raise UsageProblem(f"no backbone '{spec.name}'{hint(spec.name, BACKBONES.find())}")
    else:
        from oltr_cli.networks.backbones import load_backbone

        load_backbone(spec)
