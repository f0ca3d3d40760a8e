"""What every method, detector and backbone must do, built-in or added: run ``check``, or parametrise a test.

    import pytest
    from oltr_cli.conformance import checks_of

    @pytest.mark.parametrize("check", checks_of("my-method"), ids=lambda c: c.__name__)
    def test_mine(check):
        check("my-method")

The checks are in ``oltr_cli.conformance.methods``, ``oltr_cli.conformance.detectors`` and
``oltr_cli.conformance.backbones``.
"""

from collections.abc import Callable

from oltr_cli.conformance import backbones, detectors, methods
from oltr_cli.planning.registry import list_methods
from oltr_cli.recipe.backbones import BACKBONES


def checks_of(name: str) -> tuple[Callable[[str], None], ...]:
    """The checks that apply to a method, a detector or a backbone of that name."""
    info = list_methods().get(name)
    if info is None and BACKBONES.named(name):
        module = backbones
    else:
        module = detectors if info is not None and info.kind == "detector" else methods
    return tuple(check for own, check in vars(module).items() if own.startswith("check_"))


def check(name: str) -> None:
    """Run all checks of a method, a detector or a backbone; raises AssertionError at the first that fails."""
    for one in checks_of(name):
        one(name)
