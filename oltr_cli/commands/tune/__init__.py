"""``oltr tune``: the threshold from saved scores, everything else by a search that trains."""

from oltr_cli.commands.tune.group import tune_app
from oltr_cli.commands.tune.search import search
from oltr_cli.commands.tune.show import show
from oltr_cli.commands.tune.threshold import threshold

__all__ = ["tune_app"]

tune_app.command()(threshold)
tune_app.command()(search)
tune_app.command()(show)
