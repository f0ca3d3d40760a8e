"""What images a model of timm was trained on, as keys of a recipe's ``[data]``."""

from typing import Any

from oltr_cli.errors import UsageProblem, nearest
from oltr_cli.recipe.data import DataSpec
from oltr_cli.recipe.timm_names import PREFIX, check_timm_name


def data_of(name: str, image_size: int | None = None) -> dict[str, Any]:
    """Image size, the size before the central crop, mean, std and interpolation of ``timm/NAME``.

    Args:
        image_size: pixels, if the recipe says so; the size before the crop is in proportion to it.
    Raises:
        UsageProblem: timm is not installed or has no such model.
    """
    check_timm_name(name)
    import timm

    model = name.removeprefix(PREFIX)
    try:
        config = timm.get_pretrained_cfg(model)
    except RuntimeError:  # a tag of no published weights
        architecture = model.partition(".")[0]
        tags = timm.list_pretrained(f"{architecture}.*")
        known = nearest(model, tags) or f"; published: {', '.join(tags) or 'none'}"
        raise UsageProblem(f"timm has no weights '{model}'{known}") from None
    if config is None:  # nobody has trained it
        return {}
    size = image_size or int(config.input_size[-1])
    return {
        "image_size": size,
        "eval_resize": max(size, round(size / config.crop_pct)),
        "mean": list(config.mean),
        "std": list(config.std),
        # Its other filters, such as "random" in training, have no counterpart.
        "interpolation": "bicubic" if config.interpolation == "bicubic" else "bilinear",
    }


def contradictions(name: str, data: DataSpec) -> str:
    """Where mean, std and interpolation of a recipe are not those that ``timm/NAME`` was trained with; "" if none."""
    wanted = data_of(name, data.image_size)
    found = []
    for key in ("mean", "std", "interpolation"):
        ours, theirs = getattr(data, key), wanted.get(key)
        if theirs is not None and (list(ours) if isinstance(ours, tuple) else ours or "bilinear") != theirs:
            found.append(f"data.{key} is {list(ours) if isinstance(ours, tuple) else ours or 'bilinear'}, not {theirs}")
    return "; ".join(found)
