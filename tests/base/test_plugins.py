"""Finding classes: what a file's text says, which class of it is meant, files that were added, entry points."""

import re
from importlib.metadata import EntryPoint

import pytest

from oltr_cli.base import added_files, plugins
from oltr_cli.errors import UsageProblem
from oltr_cli.planning.registry import METHODS
from oltr_cli.recipe.backbones import BACKBONES


def read(text):
    return METHODS.read("mine", "somewhere", text, "file")


def test_facts_from_the_text_alone():
    body = '    family = "x"\n    trains: bool = False\n    rate = 1 / 3\n'
    text = f'"""One line.\n\nMore."""\nclass A: pass\nclass B(m.FeatureMethod):\n{body}'
    plugin = read(text)
    assert (plugin.name, plugin.summary, plugin.class_name, plugin.base) == ("mine", "One line", "B", "FeatureMethod")
    assert plugin.facts == {"family": "x", "trains": False}
    assert read("class A: pass") is None
    assert (read("class A(").class_name, read("class A(").summary) == ("", "line 1: '(' was never closed")


@pytest.mark.parametrize(
    ("text", "class_name", "facts"),
    [
        ("class _Help(LinearMethod):\n    a = 1\n    b = 1\nclass Mine(_Help):\n    b = 2\n", "Mine", {"a": 1, "b": 2}),
        ("class _A(Method):\n    a = 1\nclass _B(_A): pass\nclass Mine(_B): pass\n", "Mine", {"a": 1}),
        ("class _Help(nn.Module): pass\nclass Mine(_Help, Method): pass\n", "Mine", {}),
        ("class Params(MethodParams): pass\nclass Mine(Method[Params]): pass\n", "Mine", {}),
        ("from oltr_cli.method import LinearMethod as Base\nclass Mine(Base): pass\n", "Mine", {}),
        ("class Mine(Method): pass\nclass _Later(Mine): pass\n", "Mine", {}),
    ],
)
def test_the_public_class_is_meant_with_what_private_ones_give_it(text, class_name, facts):
    plugin = read(text)
    assert (plugin.class_name, plugin.facts) == (class_name, facts)


def test_a_class_of_ours_gives_its_facts():
    plugin = read("from oltr_cli.methods.plain import Plain as P\nclass Mine(P):\n    source = 'x'\n")
    assert (plugin.class_name, plugin.base, plugin.facts["source"]) == ("Mine", "LinearMethod", "x")
    assert "family" in plugin.facts
    resnet = "from oltr_cli.networks.backbones.resnet import ResNet\nclass Wide(ResNet): pass\n"
    wide = BACKBONES.read("wide", "somewhere", resnet, "file")
    assert wide.facts["keys"] == ("stem", "width", "final_relu")
    assert "names" not in wide.facts  # they belong to the built-in one


@pytest.mark.parametrize(
    "text", ["class _Only(Method): pass\n", "class Mine(Mine): pass\n", "class A(B): pass\nclass B(A): pass\n"]
)
def test_no_class_is_meant(text):
    assert read(text) is None


def test_two_public_classes_are_an_error_that_names_them(tmp_path, no_files):
    file = tmp_path / "two.py"
    file.write_text("from oltr_cli.method import Method\nclass First(Method): pass\nclass Second(First): pass\n")
    added_files.add_file(file)
    with pytest.raises(UsageProblem, match=r"two.py: has 2 public classes, First and Second; let the names") as caught:
        METHODS.load("two")
    assert "\n" not in str(caught.value)


def test_a_class_of_several_names(tmp_path, no_files):
    file = tmp_path / "my_nets.py"
    file.write_text("class Nets(Backbone):\n    names = ('net-1', 'net-2')\n    source = 'x'\n")
    added_files.add_file(file)
    found = [one for one in BACKBONES.find().values() if one.origin == "file"]
    assert [(one.name, one.class_name, one.facts["source"]) for one in found] == [
        ("net-1", "Nets", "x"),
        ("net-2", "Nets", "x"),
    ]
    assert "my-nets" not in METHODS.find()


@pytest.mark.parametrize("other", ["Method", "LogitDetector"])
def test_classes_of_two_contracts_in_a_file_are_an_error_too(tmp_path, no_files, other):
    file = tmp_path / "mixed.py"
    file.write_text(f"class Net(Backbone): pass\nclass Mine({other}): pass\n")
    added_files.add_file(file)
    for plugins_ in (METHODS, BACKBONES):
        with pytest.raises(UsageProblem, match=r"mixed.py: has 2 public classes, Net and Mine; let the names"):
            plugins_.load("mixed")


def test_facts_may_be_constants_of_the_file_and_nothing_that_has_to_run():
    constant = "KEYS = ('stem',)\nSOURCE = 'x'\nclass Net(Backbone):\n    keys = KEYS\n    source: str = SOURCE\n"
    found = BACKBONES.read("net", "somewhere", constant, "file")
    assert (found.facts["keys"], found.facts["source"]) == (("stem",), "x")
    for value in ("tuple(x for x in 'ab')", "KEYS", "('stem',)\n    names += ('b',)"):
        text = f"KEYS = ('a',)\nKEYS += ('b',)\nclass Net(Backbone):\n    names = {value}\n"
        found = BACKBONES.read("net", "somewhere", text, "file")
        assert found.class_name == ""
        assert re.fullmatch(r"line [45]: names is read from the text; write a literal", found.summary)
    assert read("class Mine(Method):\n    own = 1 / 3\n    trains = False\n").facts == {"trains": False}


def test_the_line_at_which_an_import_fails_is_named(tmp_path, no_files):
    file = tmp_path / "fails_late.py"
    file.write_text("x = 1\n\n\ny = x / 0\nclass A(Method): pass\n")
    added_files.add_file(file)
    with pytest.raises(UsageProblem, match=f"{file}: line 4: ZeroDivisionError: division by zero; OLTR_TRACEBACK=1"):
        METHODS.load("fails-late")


def test_names_that_are_taken_or_missing(tmp_path, no_files):
    def add(name, text):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        added_files.add_file(file)

    with pytest.raises(UsageProblem, match=r"--methods-from .*missing.py: no such Python file"):
        added_files.add_file(tmp_path / "missing.py")
    add("my_own.py", "class A(Method): pass\n")
    add("my_own.py", "class A(Method): pass\n")  # twice is no trouble
    with pytest.raises(UsageProblem, match=r"is also a file for 'my-own'; rename one"):
        add("elsewhere/my_own.py", "class A(Method): pass\n")
    add("plain.py", "class A(Backbone): pass\n")  # no method, so it does not take the method's name
    assert METHODS.find()["plain"].origin == "built-in"
    assert BACKBONES.find()["plain"].origin == "file"
    add("plain.py", "class A(Method): pass\n")
    with pytest.raises(UsageProblem, match=r"plain.py: a method 'plain' exists already; rename"):
        METHODS.find()
    add("nets.py", "class A(Backbone):\n    names = ('resnet18',)\n")
    with pytest.raises(UsageProblem, match=r"nets.py: a backbone 'resnet18' exists already; rename"):
        BACKBONES.find()


def test_files_of_the_environment_are_found_and_not_repeated_in_commands(tmp_path, no_files, monkeypatch):
    for name in ("other.py", "my own.py"):
        (tmp_path / name).write_text("class A(Method): pass\n")
    monkeypatch.setenv("OLTR_METHODS", str(tmp_path / "other.py"))
    assert METHODS.find()["other"].origin == "file"
    assert added_files.given_files() == ""
    monkeypatch.chdir(tmp_path)
    added_files.add_file(tmp_path.relative_to(tmp_path) / "my own.py")
    assert added_files.given_files() == " --methods-from 'my own.py'"
    assert METHODS.find()["my own"].module == str(tmp_path / "my own.py")
    monkeypatch.setenv("OLTR_METHODS", str(tmp_path / "gone.py"))
    with pytest.raises(UsageProblem, match=r"OLTR_METHODS: .*gone.py: no such Python file"):
        METHODS.find()


def test_classes_of_other_packages(tmp_path, monkeypatch, no_files):
    (tmp_path / "their_nets.py").write_text(
        "from oltr_cli.networks.backbones import Backbone\n"
        "class A(Backbone): pass\nclass B(Backbone):\n    source = 'x'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("theirs", "their_nets:B", "oltr.backbones"),
        EntryPoint("gone", "nowhere_to_be_found:C", "oltr.backbones"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in points if p.group == group])
    plugins._from_packages.cache_clear()
    try:
        found = BACKBONES.find()
        assert (found["theirs"].origin, found["theirs"].facts["source"]) == ("entry point", "x")
        assert BACKBONES.load("theirs").__name__ == "B"
        with pytest.raises(UsageProblem, match="'gone' cannot be loaded from nowhere_to_be_found: No module named"):
            BACKBONES.load("gone")
        assert "theirs" not in METHODS.find()
    finally:
        plugins._from_packages.cache_clear()
