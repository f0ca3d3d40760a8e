"""Base of the hyper-parameters that each method declares in its own file."""

from pydantic import BaseModel, ConfigDict


def _toml_name(field: str) -> str:
    """``lambda_`` is written ``lambda`` in a recipe: Python reserves the word, the paper uses it."""
    return field.rstrip("_")


class MethodParams(BaseModel):
    """A method's own hyper-parameters: the recipe's ``[method.NAME.params]`` and ``--set params.KEY=VALUE``."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_toml_name, populate_by_name=True)
