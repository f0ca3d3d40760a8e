"""Groups in one split each, with class shares as even as they can be."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from oltr_cli.data.build.allocate import allocate
from oltr_cli.data.build.split import Held, Tail, split_as_given, split_as_is, split_with_tail

HELD = Held()


def dataset(**groups):
    """Known images and groups: ``dataset(A={"fox": 5, "dog": 2}, B={"fox": 3})``; the group "_" is none."""
    known, together = {}, []
    for name, counts in groups.items():
        members = []
        for label, count in counts.items():
            files = [Path(f"/{label}/{name}-{i}.jpg") for i in range(count)]
            known.setdefault(label, []).extend(files)
            members += files
        if not name.startswith("_"):
            together.append(members)
    return known, together


def draw(known, together, seed=0, **options):
    splits, even = split_as_is(known, HELD, seed, together=together, **options)
    split_of = {path: split for split, found in splits.items() for files in found.values() for path in files}
    assert len(split_of) == sum(map(len, known.values()))
    return splits, even, split_of


def counts(splits, label):
    return [len(splits[split].get(label, ())) for split in ("train", "val", "test")]


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_torn_and_shares_are_even(seed):
    rng = np.random.default_rng(seed)
    labels = [f"c{k}" for k in range(8)]
    known, together = dataset(
        **{f"g{i}": dict(zip(labels, rng.poisson(rng.gamma(1, 3, 8)).tolist(), strict=True)) for i in range(60)}
    )
    together = [group for group in together if group]
    splits, even, split_of = draw(known, together, seed)
    assert all(len({split_of[path] for path in group}) == 1 for group in together)
    for label, files in known.items():
        _, val, test = counts(splits, label)
        assert val == pytest.approx(0.1 * len(files), abs=0.06 * len(files) + 1)
        assert test == pytest.approx(0.2 * len(files), abs=0.06 * len(files) + 1)
    shares = {(c, s): len(splits[s].get(c, ())) / len(known[c]) for c in known for s in ("val", "test")}
    assert shares[even.name, even.split] == pytest.approx(even.share)
    assert abs(even.share - even.wanted) == pytest.approx(
        max(abs(shares[c, s] - HELD.of(len(known[c]))[s == "test"] / len(known[c])) for c, s in shares)
    )
    assert even.groups == len(together)


def test_groups_of_one_image_change_nothing():
    known, _ = dataset(_a={"fox": 40, "dog": 7, "owl": 2, "elk": 1})
    plain, even, _ = draw(known, [])
    assert draw(known, [[path] for files in known.values() for path in files])[0] == plain
    assert (even.name, even.without) == ("", {})


def test_a_class_of_few_groups_has_one_for_training_then_test_then_val():
    known, together = dataset(
        a={"one": 6}, b={"two": 6}, c={"two": 5}, d={"three": 4}, e={"three": 4}, f={"three": 3}, _={"many": 30}
    )
    splits, even, _ = draw(known, together)
    assert counts(splits, "one") == [6, 0, 0]
    assert counts(splits, "two")[1] == 0
    assert min(counts(splits, "two")[::2]) == 5
    assert min(counts(splits, "three")) >= 3
    assert counts(splits, "many") == [21, 3, 6]
    assert even.without == {"val": ["one", "two"], "test": ["one"]}


@pytest.mark.parametrize("size", range(1, 16))
def test_three_groups_of_one_size_give_one_to_each_split(size):
    known, together = dataset(**{group: {"fox": size} for group in "abc"}, _={"dog": 30})
    assert sorted(counts(draw(known, together)[0], "fox")) == [size] * 3


def test_of_two_single_images_beside_a_group_one_is_for_validation():
    known, together = dataset(a={"fox": 8}, _={"fox": 2})
    assert counts(draw(known, together)[0], "fox") == [8, 1, 1]


def test_single_images_make_up_for_groups():
    known, together = dataset(a={"fox": 8}, b={"fox": 8}, _={"fox": 14})
    assert counts(draw(known, together)[0], "fox") == [21, 3, 6]


def test_one_giant_group_is_for_training():
    known, together = dataset(giant={"fox": 800, "dog": 90}, a={"fox": 30}, b={"dog": 5}, c={"fox": 30, "dog": 5})
    splits, even, split_of = draw(known, together)
    assert {split_of[path] for path in together[0]} == {"train"}
    assert sum(counts(splits, "fox")[1:]) == 60
    assert sum(counts(splits, "dog")[1:]) == 10
    assert (even.largest, even.name != "") == (890, True)


def test_every_class_keeps_training_images():
    rng = np.random.default_rng(0)
    for seed in range(30):
        spec = {f"g{i}": {f"c{k}": int(n) for k in rng.choice(6, 2) if (n := rng.integers(0, 5))} for i in range(6)}
        known, together = dataset(**spec, _={f"c{k}": int(rng.integers(0, 3)) for k in range(6)})
        known = {label: files for label, files in known.items() if files}
        splits, _, _ = draw(known, [group for group in together if group], seed)
        assert set(splits["train"]) == set(known)


def test_three_sites_of_all_classes_are_one_for_each_split():
    spec = {"fox": 30, "dog": 10, "owl": 4}
    known, together = dataset(a=spec, b=spec, c=spec)
    split_of = draw(known, together)[2]
    assert sorted(split_of[group[0]] for group in together) == ["test", "train", "val"]


def test_a_group_follows_its_images_of_an_earlier_build():
    known, together = dataset(a={"fox": 6}, b={"fox": 6, "dog": 1}, c={"dog": 5}, _={"fox": 30, "dog": 30})
    a, b, c = together
    before = {a[0]: "test", b[0]: "val", b[1]: "val", b[2]: "train", c[0]: "train"}
    split_of = draw(known, together, before=before)[2]
    assert {path: split_of[path] for path in before} == before
    assert {split_of[path] for path in a} == {"test"}
    assert {split_of[path] for path in b[3:]} == {"val"}
    assert {split_of[path] for path in c} == {"train"}


def test_given_splits_bind_their_groups_and_the_rest_is_drawn():
    known, together = dataset(a={"fox": 6}, _={"fox": 24, "dog": 20})
    given = {together[0][0]: "test", known["dog"][0]: "val"}
    splits, _ = split_as_given(known, given, HELD, 0, together=together)
    assert set(together[0]) <= set(splits["test"]["fox"])
    assert known["dog"][0] in splits["val"]["dog"]
    assert [len(splits[split]["dog"]) for split in ("train", "val", "test")] == [14, 2, 4]


def test_with_a_tail_too_no_group_is_torn():
    known, together = dataset(**{f"g{i}": {"fox": 4, "dog": 3, "owl": 2} for i in range(20)})
    splits, _ = split_with_tail(known, HELD, 0, Tail(maximum=30, minimum=5), together=together)
    split_of = {path: split for split, found in splits.items() for files in found.values() for path in files}
    assert all(len({split_of[path] for path in group if path in split_of}) <= 1 for group in together)


def test_the_order_of_groups_and_images_does_not_matter():
    known, together = dataset(**{f"g{i}": {"fox": i % 4 + 1, "dog": 2} for i in range(12)})
    first = draw(known, together)[2]
    turned = {label: files[::-1] for label, files in known.items()}
    assert draw(turned, [group[::-1] for group in together[::-1]])[2] == first


def test_a_hundred_thousand_images_in_groups_of_five():
    known = {f"c{k}": [Path(f"/{k}/{i}.jpg") for i in range(500)] for k in range(200)}
    every = [path for files in known.values() for path in files]
    order = np.random.default_rng(0).permutation(len(every)).reshape(-1, 5).tolist()
    together = [[every[i] for i in group] for group in order]
    placed = allocate(known, dict.fromkeys(known, (50, 100)), together, {}, 0)
    shares = Counter(placed.values())
    assert shares["test"] == pytest.approx(20_000, rel=0.05)
    assert shares["val"] == pytest.approx(10_000, rel=0.05)
