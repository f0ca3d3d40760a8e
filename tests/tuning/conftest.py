"""The fixtures of searches; tests of the commands import them from the same helper."""

from tests.helpers.searches import ask, finished, root  # noqa: F401 — fixtures
