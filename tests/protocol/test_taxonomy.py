"""Answers at a higher level: sums over the tree written out, and every way in which a file can be wrong."""

import itertools

import numpy as np
import pytest

from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.protocol.taxonomy import check_at_least, read_taxonomy

CLASSES = ["barn owl", "tawny owl", "robin", "wren", "fox"]
PAIRS = (
    "child,parent\nbarn owl,owl\ntawny owl,owl\nowl,bird\nrobin,songbird\nwren,songbird\nsongbird,bird\nfox,mammal\n"
)
LEVELS = (
    "class,level1,level2\nbarn owl,owl,bird\ntawny owl,owl,bird\nrobin,songbird,bird\nwren,songbird,bird\nfox,mammal\n"
)
PARENTS = {
    "barn owl": "owl",
    "tawny owl": "owl",
    "owl": "bird",
    "robin": "songbird",
    "wren": "songbird",
    "songbird": "bird",
    "fox": "mammal",
}


def tree(tmp_path, text, classes=CLASSES):
    file = tmp_path / "birds.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_taxonomy(file, classes)


def named(tree, probabilities, at_least):
    nodes, shares = tree.most_specific(np.array(probabilities), at_least)
    return [(tree.names[node] if node >= 0 else None) for node in nodes], shares


@pytest.mark.parametrize("text", [PAIRS, LEVELS, PAIRS.partition("\n")[2], "\ufeff" + LEVELS.replace("\n", "\r\n")])
def test_the_most_specific_name_that_is_sure_enough(tmp_path, text):
    rows = [[0.95, 0.02, 0.01, 0.01, 0.01], [0.5, 0.45, 0.02, 0.02, 0.01], [0.4, 0.2, 0.2, 0.15, 0.05]]
    names, shares = named(tree(tmp_path, text), [*rows, [0.3, 0.2, 0.1, 0.1, 0.3]], 0.9)
    assert names == ["barn owl", "owl", "bird", None]
    np.testing.assert_allclose(shares, [0.95, 0.95, 0.95, 1.0])


def test_sums_are_those_of_a_walk_over_the_tree(tmp_path):
    found = tree(tmp_path, PAIRS)
    rng = np.random.default_rng(0)
    rows = rng.dirichlet([0.3] * 5, 200)

    def below(name):
        return [name, *itertools.chain(*(below(child) for child, parent in PARENTS.items() if parent == name))]

    def depth(name):
        return 1 + depth(PARENTS[name]) if name in PARENTS else 0

    for at_least in (0.51, 0.7, 0.95):
        names, shares = named(found, rows, at_least)
        for row, name, share in zip(rows, names, shares, strict=True):
            sums = {one: sum(row[CLASSES.index(c)] for c in below(one) if c in CLASSES) for one in found.names}
            reached = {one: total for one, total in sums.items() if total >= at_least}
            assert name == max(reached, key=depth, default=None)
            assert share == pytest.approx(reached.get(name, 1.0))
    assert {name: int(size) for name, size in zip(found.names, found.sizes, strict=True)} == {
        name: sum(c in CLASSES for c in below(name)) for name in found.names
    }


def test_a_class_may_stand_above_others(tmp_path):
    found = tree(tmp_path, "barn owl,owl\nowl,bird\nrobin,bird\n", ["owl", "barn owl", "robin"])
    names, shares = named(found, [[0.5, 0.45, 0.05], [0.05, 0.94, 0.01], [0.5, 0.1, 0.4]], 0.9)
    assert names == ["owl", "barn owl", "bird"]
    np.testing.assert_allclose(shares, [0.95, 0.94, 1.0])


def test_a_name_alone_has_no_parent(tmp_path):
    found = tree(tmp_path, "a,b\nc,\n", ["a", "c"])
    assert named(found, [[0.0, 1.0]], 0.9)[0] == ["c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PAIRS + "bird,animal\nanimal,owl\n", "a cycle: owl → bird → animal → owl; a name cannot be above itself"),
        (PAIRS + "bird,bird\n", "a cycle: bird → bird"),
        (PAIRS + "owl,mammal\n", "birds.csv:9: 'owl' has the parent 'mammal' here and 'bird' in line 4"),
        (PAIRS.replace("fox,mammal\n", ""), "has no line for these classes of the run: fox"),
        (PAIRS + "red fox,mammal\n", "birds.csv:9: 'red fox' is neither a class of the run nor above one"),
        (
            PAIRS.replace("robin,", "robbin,"),
            "'robbin' is neither a class of the run nor above one; did you mean 'robin'?",
        ),
        (PAIRS.replace(",", ";"), "is no class of the run; cells must be separated by commas, not by semicolons"),
        (PAIRS.replace(",", "\t"), "cells must be separated by commas, not by tabs"),
        ("", "is empty"),
        ("child,parent\n", "is empty"),
        (b"fox,\xff\n", "is not text in UTF-8"),
        ('barn owl,"owl\n', "not valid CSV"),
        ("fox,a\x00b\n", None),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, text, said):
    with pytest.raises(DataProblem) as problem:
        tree(tmp_path, text)
    message = str(problem.value)
    assert "\n" not in message
    assert message.startswith(str(tmp_path / "birds.csv"))
    assert said is None or said in message


def test_a_missing_file_and_classes_of_one_name_are_named(tmp_path):
    with pytest.raises(DataProblem, match=r"nowhere.csv: no such file"):
        read_taxonomy(tmp_path / "nowhere.csv", CLASSES)
    with pytest.raises(DataProblem, match="two classes of the run are called 'fox'"):
        tree(tmp_path, PAIRS, [*CLASSES, "fox"])


def test_up_to_a_half_there_may_be_two_answers():
    for value in (0.5, 0.0, 1.0, float("nan")):
        with pytest.raises(UsageProblem, match=r"above 0\.5 and below 1"):
            check_at_least(value)
    assert check_at_least(0.51) == 0.51


def test_ten_thousand_classes_and_a_deep_tree(tmp_path):
    """Neither recursion nor a table of all classes by all nodes."""
    names = [f"c{i}" for i in range(10_000)]
    found = tree(tmp_path, "\n".join(f"c{i},g{i // 10},f{i // 100},o{i // 1000}" for i in range(10_000)), names)
    row = np.full((1, 10_000), 0.05 / 9990)
    row[0, 120:130] = 0.095
    assert named(found, row, 0.9)[0] == ["g12"]
    deep = tree(tmp_path, "\n".join(["a,x0", "b,x0", *(f"x{i},x{i + 1}" for i in range(3000))]), ["a", "b"])
    assert deep.depth.max() == 3001
    assert named(deep, [[0.6, 0.4]], 0.9)[0] == ["x0"]
