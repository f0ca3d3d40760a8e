"""What to type instead of a command or an option that oltr does not have, for those who know other tools."""

COMMANDS = {
    **dict.fromkeys(("train", "fit", "start", "resume"), "run"),
    **dict.fromkeys(("test", "eval", "score"), "evaluate"),
    **dict.fromkeys(("infer", "classify", "detect"), "predict"),
    **dict.fromkeys(("list", "runs", "status"), "ls"),
    **dict.fromkeys(("delete", "remove", "del"), "rm"),
    **dict.fromkeys(("plot", "draw"), "figure"),
    **dict.fromkeys(("table", "results"), "compare"),
    **dict.fromkeys(("mlflow", "dashboard"), "ui"),
    **dict.fromkeys(("search", "optimize"), "tune"),
    **dict.fromkeys(("build", "prepare", "check"), "data"),
}


def hint(error: object, words: list[str]) -> str:
    """What to type instead of a command line that was refused; "" where that is not known.

    Args:
        error: as the parser raised it.
        words: the command line without ``oltr``.
    """
    option = getattr(error, "option_name", None)
    if option == "--methods-from":
        return "leave it out: this command loads no method, detector or backbone"
    searches = words[:1] == ["tune"] and words[1:2] not in (["threshold"], ["show"])
    if isinstance(option, str) and (words[:1] == ["run"] or searches):
        from oltr_cli.planning.blame import keys_of
        from oltr_cli.planning.resolve import TABLES

        key = option.strip("-").replace("-", "_")
        full = next((f"{table}.{key}" for table, model in TABLES.items() if key in keys_of(model)), f"params.{key}")
        return f"a key of the recipe is set with --set, as in --set {full}=VALUE; all keys: oltr show DATASET"
    if option is None and words and words[0] in COMMANDS and f"'{words[0]}'" in str(getattr(error, "message", "")):
        return f"you may mean: oltr {COMMANDS[words[0]]}"
    return ""
