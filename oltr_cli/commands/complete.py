"""What the shell offers after Tab: names of methods, datasets, tables and runs; nothing heavy is imported."""


def methods(incomplete: str) -> list[str]:
    """Methods and detectors."""
    from oltr_cli.planning.registry import list_methods

    return [name for name in list_methods() if name.startswith(incomplete)]


def methods_listed(incomplete: str) -> list[str]:
    """Methods and detectors where several stand in one word, separated by commas; those already there are left out."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in methods(last) if name not in before.split(",")]


def detectors(incomplete: str) -> list[str]:
    """Detectors alone."""
    from oltr_cli.planning.registry import list_methods

    return [name for name, info in list_methods().items() if info.kind == "detector" and name.startswith(incomplete)]


def datasets(incomplete: str) -> list[str]:
    """Built-in datasets, those built here, and those that runs are of."""
    from oltr_cli.recipe.files import known_recipes
    from oltr_cli.runs.folder import find_runs

    names = {*known_recipes(), *(run.dataset for run in find_runs())}
    return sorted(name for name in names if name.startswith(incomplete))


def shown(incomplete: str) -> list[str]:
    """What ``oltr show`` takes: recipes, methods and backbones."""
    from oltr_cli.recipe.backbones import BACKBONES
    from oltr_cli.recipe.timm_names import PREFIX, timm_models

    known = [f"{PREFIX}{name}" for name in timm_models()] if incomplete.startswith(PREFIX) else BACKBONES.find()
    backbones = [name for name in known if name.startswith(incomplete)]
    return [*datasets(incomplete), *methods(incomplete), *backbones]


def tables(incomplete: str) -> list[tuple[str, str]]:
    """The paper's tables, with their captions."""
    from oltr_cli.tables.paper import list_tables

    return [(name, caption) for name, caption in list_tables().items() if name.startswith(incomplete)]


def compared(incomplete: str) -> list[tuple[str, str]]:
    """What ``oltr compare`` shows: the paper's tables and that of the detectors."""
    own = [("detectors", "every detector on the finished runs")] if "detectors".startswith(incomplete) else []
    return [*tables(incomplete), *own]


def runs(incomplete: str) -> list[str]:
    """``dataset/method`` of what was run here; once that is typed, the names of its runs."""
    from oltr_cli.runs.folder import find_runs

    found = find_runs()
    names = [run.name if incomplete.count("/") > 1 else f"{run.dataset}/{run.method}" for run in found]
    return sorted({name for name in names if name.startswith(incomplete)})
