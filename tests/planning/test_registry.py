"""Finding methods: what a file's text says, files that were added, broken ones, pairs with detectors."""

import subprocess
import sys

import pytest

from oltr_cli.errors import UsageProblem
from oltr_cli.planning import registry
from oltr_cli.planning.method_info import read_method_file

MINE = '''"""Mine: sharper logits.

More text.
"""

from torch.nn import functional as F

from oltr_cli.methods.plain import Plain


class Mine(Plain):
    starts_from = "plain"
    source = "nobody, 2026"

    def training_loss(self, images, labels):
        return {"sharp": F.cross_entropy(2 * self.classifier(self.backbone(images)).float(), labels)}
'''


@pytest.fixture
def no_files(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    monkeypatch.delenv("OLTR_METHODS", raising=False)


@pytest.fixture
def mine(tmp_path, no_files):
    path = tmp_path / "my_own.py"
    path.write_text(MINE)
    registry.add_file(path)
    return path


def test_facts_from_the_text_alone():
    text = '"""One line.\n\nMore."""\nclass A: pass\nclass B(m.FeatureMethod):\n    family = "x"\n    trains = False\n'
    info = read_method_file("b", "somewhere", text, "file")
    assert (info.summary, info.family, info.starts_from, info.kind, info.class_name) == (
        "One line",
        "x",
        "plain",
        "method",
        "B",
    )
    assert info.trains is False
    assert read_method_file("b", "somewhere", "class B(LogitDetector): pass", "file").kind == "detector"
    assert read_method_file("b", "somewhere", "class A: pass", "file") is None
    assert read_method_file("b", "somewhere", "class A(", "file").family == "broken"


def test_built_in_methods_and_detectors_are_told_apart():
    methods = registry.list_methods()
    assert methods["dme"].kind == "method"
    assert methods["dme"].starts_from == "plain"
    assert methods["plain"].starts_from is None
    assert methods["openmax"].kind == "detector"
    assert methods["openmax"].starts_from == "range"
    assert not [info for info in methods.values() if info.family in ("broken", "other")]


def test_every_built_in_file_says_where_it_is_from():
    for info in registry.list_methods().values():
        assert info.summary, info.name
        assert info.source, info.name


def test_an_added_file_is_a_method(mine):
    info = registry.list_methods()["my-own"]
    assert (info.origin, info.starts_from, info.source) == ("file", "plain", "nobody, 2026")
    assert [name for name, _ in registry.method_chain("my-own")] == ["plain", "my-own"]
    assert registry.load_method("my-own") is registry.load_method("my-own")
    registry.add_file(mine)  # twice is no trouble


def test_files_from_the_environment(tmp_path, no_files, monkeypatch):
    path = tmp_path / "other.py"
    path.write_text(MINE)
    monkeypatch.setenv("OLTR_METHODS", str(path))
    assert registry.list_methods()["other"].origin == "file"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("broken", "class Broken(Method:\n", r"line 1"),
        ("raises", "from oltr_cli.method import Method\n1 / 0\nclass A(Method): pass\n", "ZeroDivisionError"),
        ("lacks", "import nowhere_to_be_found\nclass A(Method): pass\n", "nowhere_to_be_found"),
        ("nothing", "x = 1\n", "no class that derives"),
    ],
)
def test_a_broken_file_is_an_error_of_its_own(tmp_path, no_files, name, text, words):
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    registry.add_file(path)
    assert {"dme", name} <= set(registry.list_methods())
    assert registry.load_method("plain").__name__ == "Plain"
    with pytest.raises(UsageProblem, match=words) as caught:
        registry.load_method(name)
    assert str(path) in str(caught.value)


def test_names_that_are_taken_or_missing(tmp_path, mine):
    taken = tmp_path / "plain.py"
    taken.write_text(MINE)
    with pytest.raises(UsageProblem, match="a method 'plain' already"):
        registry.add_file(taken)
    other = tmp_path / "elsewhere" / "my_own.py"
    other.parent.mkdir()
    other.write_text(MINE)
    with pytest.raises(UsageProblem, match="a method 'my-own' already"):
        registry.add_file(other)
    with pytest.raises(UsageProblem, match="no such Python file"):
        registry.add_file(tmp_path / "missing.py")


def test_pairs():
    assert registry.canonical("dme") == "dme"
    assert registry.canonical("openmax") == "range+openmax"
    assert registry.canonical("dme+energy") == "dme+energy"
    with pytest.raises(UsageProblem, match="oltr run plain --detector energy"):
        registry.canonical("energy")
    with pytest.raises(UsageProblem, match="no pair"):
        registry.canonical("energy+dme")
    with pytest.raises(UsageProblem, match="did you mean 'energy'"):
        registry.canonical("dme+enrgy")
    with pytest.raises(UsageProblem, match="is a detector"):
        registry.load_method("energy")
    with pytest.raises(UsageProblem, match="is no detector"):
        registry.load_detector("dme")


def test_listing_imports_no_torch():
    code = (
        "import sys; from oltr_cli.planning.registry import list_methods; list_methods(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
