"""Finding methods: what a file's text says, files that were added, broken ones, pairs with detectors."""

import subprocess
import sys

import pytest

from oltr_cli.base import added_files
from oltr_cli.errors import UsageProblem
from oltr_cli.planning import registry
from oltr_cli.planning.described import method_chain
from tests.helpers.own_method import MINE


@pytest.fixture
def mine(tmp_path, no_files):
    path = tmp_path / "my_own.py"
    path.write_text(MINE)
    added_files.add_file(path)
    return path


def test_facts_that_a_base_gives(tmp_path, no_files):
    for name, base in (("a", "FeatureMethod"), ("b", "Method"), ("c", "NetworkDetector")):
        (tmp_path / f"{name}.py").write_text(f"class Mine({base}): pass\n")
        added_files.add_file(tmp_path / f"{name}.py")
    found = registry.list_methods()
    assert [(found[n].kind, found[n].family, found[n].starts_from, found[n].trains) for n in "abc"] == [
        ("method", "other", "plain", True),
        ("method", "other", None, True),
        ("detector", "open-set detector", None, True),
    ]


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
    assert [name for name, _ in method_chain("my-own")] == ["plain", "my-own"]
    assert registry.load_method("my-own") is registry.load_method("my-own")
    added_files.add_file(mine)  # twice is no trouble


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("broken", "class Broken(Method:\n", r"line 1"),
        ("raises", "from oltr_cli.method import Method\n1 / 0\nclass A(Method): pass\n", "ZeroDivisionError"),
        ("lacks", "import nowhere_to_be_found\nclass A(Method): pass\n", "nowhere_to_be_found"),
        ("nothing", "x = 1\n", "no public class that derives"),
    ],
)
def test_a_broken_file_is_an_error_of_its_own(tmp_path, no_files, name, text, words):
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    added_files.add_file(path)
    assert {"dme", name} <= set(registry.list_methods())
    assert registry.load_method("plain").__name__ == "Plain"
    with pytest.raises(UsageProblem, match=words) as caught:
        registry.load_method(name)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("base", "body", "lacks"),
    [
        ("method.Method", "pass", "forward and training_loss"),
        ("method.LinearMethod", "pass", "training_loss"),
        ("method.FeatureMethod", "pass", "feature_loss and score_features"),
        ("method.FeatureMethod", "trains = False", "score_features"),
        ("detector.Detector", "pass", "confidence"),
        ("detector.NetworkDetector", "pass", "score_images"),
    ],
)
def test_what_a_class_lacks_is_named_before_it_is_built(tmp_path, no_files, base, body, lacks):
    room, _, name = base.partition(".")
    path = tmp_path / f"lacking_{name.lower()}_{body[0]}.py"  # a module is imported once
    path.write_text(f"from oltr_cli.{room} import {name}\nclass Mine({name}):\n    {body}\n")
    added_files.add_file(path)
    load = registry.load_method if room == "method" else registry.load_detector
    with pytest.raises(UsageProblem, match=f"{path}: Mine lacks {lacks}$") as caught:
        load(path.stem.replace("_", "-"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "rule", "says"),
    [
        (
            "method.LinearMethod",
            "oracle_test",
            "threshold_rule oracle_test reads the labels of the test set; a class's",
        ),
        ("detector.LogitDetector", "oracle_test", "threshold_rule oracle_test reads the labels of the test set"),
        ("detector.LogitDetector", "tuned", "threshold_rule tuned is no rule by itself"),
        ("detector.LogitDetector", "id_quantil:0.95", r"threshold_rule: .*did you mean 'id_quantile'\?"),
        ("method.LinearMethod", "id_quantile:0.9", None),
    ],
)
def test_a_rule_of_its_own_is_checked_when_it_is_loaded(tmp_path, no_files, base, rule, says):
    room, _, name = base.partition(".")
    path = tmp_path / f"ruled_{name.lower()}_{rule.partition(':')[0]}.py"
    step = "training_loss" if room == "method" else "from_logits"
    path.write_text(
        f"from oltr_cli.{room} import {name}\nclass Mine({name}):\n    threshold_rule = '{rule}'\n"
        f"    def {step}(self, *given): ...\n"
    )
    added_files.add_file(path)
    load = registry.load_method if room == "method" else registry.load_detector
    if says is None:
        assert load(path.stem.replace("_", "-")).threshold_rule == rule
        return
    with pytest.raises(UsageProblem, match=f"{path}: {says}"):
        load(path.stem.replace("_", "-"))


def test_a_detector_is_called_what_its_file_is_called(tmp_path, no_files):
    path = tmp_path / "det_shape.py"
    text = "from oltr_cli.detector import LogitDetector\nclass DetShape(LogitDetector):\n"
    path.write_text(f"{text}    def from_logits(self, logits): ...\n")
    added_files.add_file(path)
    assert registry.load_detector("det-shape")(None).name == "det-shape"


def test_a_broken_detector_says_why(tmp_path, no_files):
    path = tmp_path / "unclosed.py"
    path.write_text("class Unclosed(Detector:\n")
    added_files.add_file(path)
    with pytest.raises(UsageProblem, match=r"unclosed\.py: line 1: "):
        registry.canonical("dme+unclosed")
    with pytest.raises(UsageProblem, match="no detector 'enrgy'; did you mean 'energy'"):
        registry.canonical("dme+enrgy")


def test_nothing_built_in_lacks_anything():
    for info in registry.list_methods().values():
        (registry.load_method if info.kind == "method" else registry.load_detector)(info.name)


def test_a_backbone_is_no_broken_method(tmp_path, no_files):
    path = tmp_path / "net.py"
    path.write_text("class Net(Backbone): pass\n")
    added_files.add_file(path)
    assert "net" not in registry.list_methods()


def test_pairs():
    assert registry.canonical("dme") == "dme"
    assert registry.canonical("openmax") == "range+openmax"
    assert registry.canonical("dme+energy") == "dme+energy"
    with pytest.raises(UsageProblem, match="oltr run plain --detector energy"):
        registry.canonical("energy")
    with pytest.raises(UsageProblem, match=r"is not METHOD\+DETECTOR"):
        registry.canonical("energy+dme")
    with pytest.raises(UsageProblem, match="did you mean 'energy'"):
        registry.canonical("dme+enrgy")
    with pytest.raises(UsageProblem, match="is a detector"):
        registry.load_method("energy")
    with pytest.raises(UsageProblem, match="is not a detector"):
        registry.load_detector("dme")


def test_listing_imports_no_torch():
    code = (
        "import sys; from oltr_cli.planning.registry import list_methods; list_methods(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
