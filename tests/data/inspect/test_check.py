"""``oltr data check``: everything that is wrong at once, under a stable word, and nothing where nothing is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base import pool as over
from oltr_cli.data.feed.opening import open_dataset
from oltr_cli.data.inspect.check import PUBLISHED
from oltr_cli.data.inspect.published import Published
from oltr_cli.data.lists.lists import digest_of_files
from oltr_cli.errors import DataProblem, UsageProblem
from oltr_cli.recipe.data import DataSpec
from tests.helpers.open_lists import add_open_list
from tests.helpers.tiny import TINY_COUNTS

RECIPE = '[data]\nname = "tiny"\nimage_size = 16\neval_resize = 16\n'


@pytest.fixture
def tiny(own_tiny_data, monkeypatch):
    """A dataset to damage, of pictures that are unlike each other; its folder."""
    rng = np.random.default_rng(0)
    for path in sorted(own_tiny_data.rglob("*.png")):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    monkeypatch.setenv("OLTR_DATA", str(own_tiny_data))
    monkeypatch.setenv("COLUMNS", "200")
    (own_tiny_data / "tiny" / "recipe.toml").write_text(RECIPE)
    return own_tiny_data / "tiny"


def run(*arguments):
    """Exit code and what ``oltr data check`` wrote to stdout."""
    result = CliRunner().invoke(app, ["data", "check", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def check(*arguments):
    """Exit code, the JSON object, and its findings as {(kind, splits): finding}."""
    code, text = run(*(arguments or ("tiny",)), "--json", "--quiet")
    facts = json.loads(text)
    return code, facts, {(f["kind"], *f["splits"]): f for f in facts["findings"]}


def lines(root, split):
    return (root / f"{split}.txt").read_text(encoding="utf-8").splitlines()


def write(root, split, rows):
    (root / f"{split}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def test_nothing_is_wrong(tiny):
    before = sorted(tiny.rglob("*"))
    code, facts, found = check()
    assert (code, facts["ok"], facts["errors"], facts["warnings"], found) == (0, True, 0, 0, {})
    assert facts["splits"]["train"] == {
        "images": sum(TINY_COUNTS), "published": None, "classes": 5, "missing": 0, "unreadable": 0
    }  # fmt: skip
    assert {split: row["images"] for split, row in facts["splits"].items()} == {
        split: len(lines(tiny, split)) for split in ("train", "val", "test", "open", "open_val")
    }
    assert facts["splits"]["open"]["classes"] is None
    assert (facts["per_class"], facts["shots"]) == ([1, 24], {"many": 0, "medium": 1, "few": 4})
    assert sorted(tiny.rglob("*")) == before
    code, text = run("tiny", "--decode")
    assert code == 0
    assert "✓ no errors" in text


def test_lists_other_than_those_of_the_recipe_are_an_error(tiny):
    """With the digest to write, as a run says it; a list that is missing is said once."""
    recipe, digest = tiny / "recipe.toml", digest_of_files("tiny", tiny)
    recipe.write_text(f'{RECIPE}lists_digest = "{digest}"\n')
    assert check()[0] == 0
    write(tiny, "train", lines(tiny, "train")[1:])
    code, _, found = check()
    assert (code, list(found)) == (3, [("other_lists",)])
    assert found[("other_lists",)]["severity"] == "error"
    with pytest.raises(DataProblem) as caught:
        open_dataset(DataSpec(name="tiny", lists_digest=digest))
    assert str(caught.value) == f"dataset 'tiny': {found['other_lists',]['message']}"
    recipe.write_text(f'{RECIPE}lists_digest = "{digest_of_files("tiny", tiny)}"\n')
    assert check()[0] == 0
    (tiny / "val.txt").unlink()
    assert list(check()[2]) == [("no_list", "val")]


def test_all_problems_come_at_once(tiny):
    train, test, open_ = lines(tiny, "train"), lines(tiny, "test"), lines(tiny, "open")
    write(
        tiny,
        "train",
        [row for row in train if not row.endswith(" 3")]
        + [train[0], train[1], train[2].replace(" 0", " 4")]
        + ["../x.png 0", "/etc/passwd 0", "no label", test[0]],
    )
    write(tiny, "val", [*lines(tiny, "val"), "val/c0/0.png 9"])
    write(tiny, "test", [row for row in test if not row.endswith(" 2")])
    write(tiny, "open", [*open_[1:], open_[0].replace("-1", "4"), f"{test[5].split()[0]} -1"])
    for i in range(10, 13):
        (tiny / f"train/c0/{i}.png").unlink()
    shutil.rmtree(tiny / "train/c2")
    (tiny / "train/c1/0.png").write_bytes(b"")
    (tiny / "train/c1/1.png").unlink()
    (tiny / "train/c1/1.png").mkdir()
    (tiny / "train/c1/2.png").unlink()
    (tiny / "train/c1/2.png").symlink_to(tiny / "nowhere.png")
    (tiny / "train/c1/3.png").write_text("<html>")
    whole = (tiny / "train/c1/4.png").read_bytes()
    (tiny / "train/c1/4.png").write_bytes(whole[: len(whole) // 2])
    code, facts, found = check("tiny", "--decode", "--workers", "0")
    assert code == 3
    counts = {key: (f["severity"], f["count"]) for key, f in found.items()}
    counts.pop(("bad_lines", "train"))  # there are two of that kind: see below
    assert counts == {
        ("labels", "train"): ("error", 1),
        ("labels", "val"): ("error", 1),
        ("labels", "open"): ("error", 1),
        ("contradicting_labels", "train"): ("error", 1),
        ("contradicting_labels", "val"): ("error", 1),
        ("shared_paths", "train", "test"): ("error", 1),
        ("shared_paths", "test", "open"): ("error", 1),
        ("missing_files", "train"): ("error", 9),
        ("empty_files", "train"): ("error", 1),
        ("no_files", "train"): ("error", 2),
        ("undecodable", "train"): ("error", 2),
        ("repeated_paths", "train"): ("warning", 3),
        ("classes_without_images", "test"): ("warning", 1),
    }
    bad = {f["message"]: f["count"] for f in facts["findings"] if f["kind"] == "bad_lines"}
    assert sorted(bad.values()) == [1, 2]
    number = len(train) - 2 + 4
    assert f"train.txt:{number}: '../x.png' leads outside the dataset's folder, and 1 more line: {number + 1}" in bad
    assert any("'no label' is not 'relative/path label'" in message for message in bad)
    assert "no training image for label 3" in found["labels", "train"]["message"]
    assert "1 folder entirely (train/c2): train/c0/10.png" in found["missing_files", "train"]["message"]
    assert "3.png (not an image)" in found["undecodable", "train"]["message"]
    assert facts["splits"]["train"]["unreadable"] == 5
    assert [f["severity"] for f in facts["findings"]] == sorted(f["severity"] for f in facts["findings"])


@pytest.mark.parametrize(
    ("split", "row", "kind", "severity"),
    [
        ("train", "val/c0/0.png 0", ("shared_paths", "train", "val"), "error"),
        ("train", "open/c7/0.png 0", ("shared_paths", "train", "open"), "error"),
        ("val", "open_val/c11/0.png 0", ("shared_paths", "val", "open_val"), "error"),
        ("val", "test/c0/0.png 0", ("shared_paths", "val", "test"), "error"),
        ("open_val", "open/c7/0.png -1", ("shared_paths", "open", "open_val"), "error"),
        ("val", "val/c0/./0.png 0", ("repeated_paths", "val"), "warning"),
    ],
)
def test_an_image_in_two_places(tiny, split, row, kind, severity):
    write(tiny, split, [*lines(tiny, split), row])
    code, _, found = check()
    assert (found[kind]["severity"], found[kind]["count"]) == (severity, 1)
    assert code == (3 if severity == "error" else 0)


def test_an_image_that_a_listed_folder_holds_is_not_found_under_another_name(tiny):
    """``test/only.png`` is missing, whatever ``test/c0`` holds: that folder is listed itself."""
    shutil.copy(tiny / "test/c0/0.png", tiny / "test/c0/only.png")
    write(tiny, "test", [*lines(tiny, "test"), "test/only.png 0"])
    code, _, found = check()
    assert (code, found["missing_files", "test"]["message"]) == (3, "1 of 21 images missing: test/only.png")


def test_images_found_elsewhere_than_listed_are_counted_and_named(tiny):
    for i in range(4):
        (tiny / f"kept/{i}").mkdir(parents=True)
        shutil.copy(tiny / f"val/c0/{i % 3}.png", tiny / f"kept/{i}/{i}.png")
    write(tiny, "val", [*lines(tiny, "val"), *(f"kept/{i}.png 0" for i in range(4))])
    code, _, found = check()
    assert (code, found["found_elsewhere", "val"]["count"]) == (0, 4)
    assert found["found_elsewhere", "val"]["message"].startswith(
        "4 images found elsewhere than listed: kept/0.png is kept/0/0.png, kept/1.png is"
    )
    shutil.copy(tiny / "kept/0/0.png", tiny / "kept/1/0.png")
    code, _, found = check()
    assert code == 3
    assert "kept/0.png, which could be kept/0/0.png, kept/1/0.png; list" in found["missing_files", "val"]["message"]


def test_published_counts(tiny, monkeypatch):
    images = {"train": 45, "val": 15, "test": 20, "open": 10, "open_val": 4}
    monkeypatch.setitem(PUBLISHED, "tiny", Published(5, images, (1, 24), (0, 1, 4)))
    code, text = run("tiny")
    assert code == 0
    assert "0 / 1 / 4 as published" in text
    monkeypatch.setitem(PUBLISHED, "tiny", Published(6, {**images, "val": 16}, (2, 24), (0, 2, 3)))
    (tiny / "open.txt").unlink()
    code, facts, _ = check()
    messages = [f["message"] for f in facts["findings"]]
    assert code == 3
    assert messages == [
        "15 images listed, but 16 are published",
        "classes: 5; published: 6",
        "images per class: 1–24; published: 2–24",
        "many-, medium- and few-shot classes: 0 / 1 / 4; published: 0 / 2 / 3",
        "no list, but 10 images are published",
    ]
    assert facts["findings"][-1]["severity"] == "warning"


def test_lists_alone_pass_on_their_counts(tiny, tmp_path, monkeypatch):
    """Complete lists and no image: what is published fits, and all images are counted as missing."""
    monkeypatch.setitem(PUBLISHED, "tiny", Published(5, {"train": 45, "val": 15, "test": 20}, (1, 24), (0, 1, 4)))
    code, facts, found = check("tiny", "--root", tmp_path / "nowhere", "--lists", tiny)
    assert code == 3
    assert {kind for kind, *_ in found} == {"no_folder", "missing_files"}
    assert found["missing_files", "train"]["message"].startswith("45 of 45 images missing: train/c0/0.png")
    assert facts["splits"]["test"]["missing"] == 20


def test_copies_are_found_by_content_alone(tiny):
    source = tiny / "train/c0/0.png"
    shutil.copy(source, tiny / "train/c0/1.png")
    shutil.copy(tiny / "train/c0/2.png", tiny / "train/c1/2.png")
    shutil.copy(tiny / "train/c0/3.png", tiny / "test/c0/3.png")
    shutil.copy(tiny / "val/c0/1.png", tiny / "open/c7/0.png")
    shutil.copy(tiny / "val/c0/2.png", tiny / "test/c0/2.png")
    assert check()[2] == {}
    for option in ("--content", "--decode"):
        code, facts, _ = check("tiny", option, "--workers", "0")
        same_bytes = [f for f in facts["findings"] if f["kind"] == "copies"]
        copies = {(*f["splits"], "different" in f["message"]): f["message"] for f in same_bytes}
        assert code == 3
        assert {splits: f["severity"] for splits, f in zip(copies, same_bytes, strict=True)} == {
            ("train", "test", False): "error",
            ("val", "open", False): "error",
            ("train", False): "warning",
            ("train", True): "warning",
            ("val", "test", False): "warning",
        }
        assert "train/c0/0.png = train/c0/1.png" in copies["train", False]
        assert "train/c0/2.png = train/c1/2.png" in copies["train", True]


def test_bursts_across_splits_are_counted_with_examples(tiny):
    for i in range(6):
        pixels = np.array(Image.open(tiny / f"train/c0/{i}.png").convert("RGB").resize((64, 64)))
        Image.fromarray(pixels).save(tiny / f"train/c0/{i}.png")
        pixels[:2] = 128
        Image.fromarray(pixels).save(tiny / f"test/c{i // 4}/{i % 4}.png")
    code, _, found = check("tiny", "--decode", "--workers", "0")
    near = found["near_copies", "train", "test"]
    assert (code, near["severity"], near["count"]) == (3, "error", 6)
    assert near["message"].startswith("6 images nearly identical to one of train, as in a burst: test/c0/0.png = train")
    assert near["message"].count(" = ") == 5


def test_near_copies_under_two_labels_are_a_warning_and_drawn(tiny, tmp_path, monkeypatch):
    """As an error in two splits; published splits are as they are."""
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((72, 72), Image.Resampling.BICUBIC)
    scene.save(tiny / "train/c0/0.png")
    scene.crop((1, 1, 72, 72)).save(tiny / "train/c1/0.png")
    sheet = tmp_path / "near.png"
    code, facts, found = check("tiny", "--contact-sheet", sheet)
    near = found["near_labels",]
    assert (code, near["severity"], near["count"], facts["sheet"]) == (0, "warning", 1, str(sheet))
    assert (
        "1 group of nearly identical images under different labels: train/c0/0.png = train/c1/0.png" in near["message"]
    )
    small = Image.open(sheet).size
    scene.crop((0, 0, 71, 72)).save(tiny / "open/c7/0.png")
    code, _, found = check("tiny", "--contact-sheet", sheet)
    assert (code, found["near_copies", "train", "open"]["severity"]) == (3, "error")
    assert Image.open(sheet).size[0] > small[0]  # a third tile
    published = Published(images={split: len(lines(tiny, split)) for split in ("train", "val", "test")}, classes=5)
    monkeypatch.setitem(PUBLISHED, "tiny", published)
    assert check("tiny", "--decode")[2]["near_copies", "train", "open"]["severity"] == "warning"


def test_without_near_copies_there_is_no_picture(tiny, tmp_path):
    done = CliRunner().invoke(app, ["data", "check", "tiny", "--contact-sheet", str(tmp_path / "near.png")])
    assert done.exit_code == 0
    assert "no nearly identical images in two splits or under two labels, so no picture" in done.stderr
    assert not (tmp_path / "near.png").exists()
    with pytest.raises(UsageProblem, match=r"--contact-sheet near\.jpg: write a name that ends in \.png"):
        run("tiny", "--contact-sheet", "near.jpg")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "path,group\ntrain/c0/0.png,A\ntest/c0/0.png,A\nval/c0/0.png,B\n",
            r"1 group of groups\.csv in two splits: 'A' ",
        ),
        ("\ufeffpath,group\r\ntrain/c0/0.png,A\r\ntest/c0/0.png,A\r\n", r"1 group .* 'A' .*with --force --redraw"),
        ("path,group\nx,A\nx,B\n", "x is in two groups, 'A' and 'B'"),
        ("path,group\nx,A\nx,A\n", ""),
        ("path,site\nx,A\n", "its lines are not 'path,group'"),
        ("path,group\nx\n", "its lines are not 'path,group'"),
        ("path,group\n\ntrain/c0/0.png,A\ntrain/c1/0.png,A\nopen/c7/0.png,A\n", ""),
    ],
)
def test_groups_in_two_splits_are_an_error(tiny, text, problem):
    (tiny / "groups.csv").write_text(text)
    code, _, found = check()
    assert code == (3 if problem else 0)
    assert re.search(problem, found["groups",]["message"]) if problem else found == {}


def test_further_open_sets_and_outliers_are_checked_like_the_others(tiny):
    """Counted, leaks and classes that are in two lists found, and copies of what is tested among the outliers."""
    far = add_open_list(tiny, "open_far", (20, 21))
    outliers = add_open_list(tiny, "open_train", (30, 31))
    code, facts, found = check()
    assert (code, found) == (0, {})
    assert {
        split: (row["images"], row["classes"]) for split, row in facts["splits"].items() if split.startswith("open_")
    } == {
        "open_val": (4, None),
        "open_far": (8, None),
        "open_train": (8, None),
    }
    shutil.copy(tiny / far[2], tiny / outliers[3])
    shutil.copy(tiny / "open/c7/0.png", tiny / far[3])
    copies = {tuple(f["splits"]): f["severity"] for f in check("tiny", "--content")[1]["findings"]}
    assert copies == {("open_far", "open_train"): "error", ("open", "open_far"): "warning"}
    write(tiny, "open_far", [*lines(tiny, "open_far"), "open/c7/1.png -1", "open_far/c20/9.png -1"])
    write(tiny, "open_train", [*lines(tiny, "open_train"), "open_val/c11/0.png -1"])
    code, _, found = check()
    assert code == 3
    assert {key: (f["severity"], f["count"]) for key, f in found.items()} == {
        ("shared_paths", "open", "open_far"): ("error", 1),
        ("shared_paths", "open_val", "open_train"): ("error", 1),
        ("shared_classes", "open_val", "open_train"): ("error", 1),
        ("missing_files", "open_far"): ("error", 1),
    }


def test_without_open_txt_the_note_names_the_sets_that_are_there(tiny):
    add_open_list(tiny, "open_far", (20,))
    (tiny / "open.txt").unlink()
    code, _, found = check()
    assert code == 0
    assert found["no_open", "open"]["message"] == "no list open.txt, so open-set metrics of open_far only"


def test_one_file_listed_twice_is_no_copy(tiny):
    write(tiny, "val", [*lines(tiny, "val"), "test/c0/0.png 0"])
    assert set(check("tiny", "--content")[2]) == {("shared_paths", "val", "test")}


def test_processes_find_what_one_finds(tiny, monkeypatch):
    (tiny / "test/c1/2.png").write_bytes(b"GIF89a no more")
    monkeypatch.setattr(over, "FEW", 0)
    alone, many = (check("tiny", "--decode", "--workers", workers) for workers in (0, 2))
    assert alone == many
    assert alone[2]["undecodable", "test"]["count"] == 1


def test_images_of_a_list_need_no_torch(tiny):
    code = (
        "import sys\nfrom oltr_cli.app import app\n"
        "app(['data', 'check', 'tiny', '--content'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_warnings_alone_are_no_failure(tiny):
    write(tiny, "val", [row for row in lines(tiny, "val") if not row.endswith(" 4")])
    code, facts, found = check()
    assert (code, facts["ok"], facts["warnings"]) == (0, True, 1)
    assert found["classes_without_images", "val"]["message"] == "1 class without images, labels: 4 (thing 4)"
    assert "✓ no errors; 1 warning" in run("tiny")[1]
    (tiny / "classes.txt").unlink()
    assert check()[2]["classes_without_images", "val"]["message"] == "1 class without images, labels: 4"


@pytest.mark.parametrize(
    ("text", "severity", "message"),
    [
        (b"a\nb\n", "warning", "classes.txt has 2 names for 5 classes and is not used"),
        (b"a\nb\nc\nd\ne\nf\n", "warning", "classes.txt has 6 names for 5 classes"),
        (b"0 crane\n1 b\n2 c\n3 crane\n4 e\n", "note", "several classes share a name: crane"),
        (b"\xff\xfe\x80\n", "error", "classes.txt: cannot be read"),
    ],
)
def test_class_names(tiny, text, severity, message):
    (tiny / "classes.txt").write_bytes(text)
    code, _, found = check()
    assert found[("class_names",)]["severity"] == severity
    assert message in found[("class_names",)]["message"]
    assert code == (3 if severity == "error" else 0)


def test_no_open_images_is_a_note(tiny):
    (tiny / "open_val.txt").unlink()
    assert check()[2]["no_open", "open_val"]["severity"] == "note"
    (tiny / "open.txt").unlink()
    code, _, found = check()
    assert code == 0
    assert set(found) == {("no_open", "open")}


def test_lists_that_cannot_be_read(tiny):
    (tiny / "train.txt").write_bytes(b"\xff\xff 0\n")
    (tiny / "val.txt").write_text("\n")
    (tiny / "test.txt").rename(tiny / "A_test.txt")
    shutil.copy(tiny / "A_test.txt", tiny / "B_test.txt")
    code, facts, found = check()
    assert code == 3
    assert {key: f["severity"] for key, f in found.items()} == {
        ("unreadable_list", "train"): "error",
        ("unreadable_list", "val"): "error",
        ("unreadable_list", "test"): "error",
    }
    assert set(facts["splits"]) == {"open", "open_val"}
    assert "several lists fit 'test'" in found["unreadable_list", "test"]["message"]
    for split in ("A_test", "B_test", "val"):
        (tiny / f"{split}.txt").unlink()
    assert {key for key in check()[2] if key[0] == "no_list"} == {("no_list", "val"), ("no_list", "test")}


def test_names_that_are_easily_mistaken(tiny):
    (tiny / "classes.txt").write_text("Robin\nrobin\nROBIN \nwren\nUnknown\n")
    _, _, found = check()
    assert {kind: f["severity"] for (kind,), f in found.items()} == {
        "names_alike": "warning",
        "called_unknown": "warning",
    }
    assert "blanks: 'Robin' = 'robin' = 'ROBIN'; make them" in found[("names_alike",)]["message"]
    assert found[("called_unknown",)]["message"].endswith("give it another with `oltr data rename`")


def test_labels_that_are_far_too_large(tiny):
    write(tiny, "train", [*lines(tiny, "train"), "train/c0/1.png 999999999999", "train/c0/2.png " + "9" * 30])
    _, facts, found = check()
    assert "no training image for label 5, 6, 7, 8, 9, … although" in found["labels", "train"]["message"]
    assert found["bad_lines", "train"]["message"].endswith("a label is -1, or up to 18 digits from 0 to 9")
    assert facts["classes"] == 6


def test_no_training_labels_at_all(tiny):
    write(tiny, "train", [row.rpartition(" ")[0] + " -1" for row in lines(tiny, "train")])
    code, facts, found = check()
    assert code == 3
    assert facts["classes"] == 0
    assert "label -1 in a training list" in found["labels", "train"]["message"]


def test_names_with_spaces_and_other_scripts(tiny):
    name = "train/ein Bär 猫/α β.PNG"
    (tiny / name).parent.mkdir()
    Image.new("L", (3, 3)).save(tiny / name, format="PNG")
    write(tiny, "train", [*lines(tiny, "train"), f"{name} 0", f"{name}x 0"])
    assert check("tiny", "--decode")[2]["missing_files", "train"]["message"] == f"1 of 47 images missing: {name}x"


def test_identification_lists(tiny):
    shutil.copytree(tiny / "open", tiny / "who")
    write(tiny, "probe", ["who/c7/0.png 0", "who/c7/1.png 0", "who/c8/0.png 1"])
    write(tiny, "distractors", ["who/c8/1.png -1"])
    (tiny / "attributes.txt").write_text("who/c7/0.png old\n")
    code, facts, found = check()
    assert (code, found) == (0, {})
    assert facts["splits"]["probe"]["classes"] == 2
    assert facts["splits"]["distractors"]["classes"] is None
    write(tiny, "distractors", ["who/c8/1.png 3", "who/c7/1.png -1"])
    (tiny / "attributes.txt").write_text("who/nobody.png old\n")
    code, facts, _ = check()
    assert code == 3
    assert [(f["kind"], f["splits"], f["message"].removeprefix(f"{tiny}/")) for f in facts["findings"]] == [
        ("identification", ["distractors"], "identity 3 of a distractor; distractors must have −1"),
        ("identification", ["probe"], "who/c7/1.png is also in distractors.txt"),
        (
            "identification",
            ["probe"],
            "attributes.txt:1: 'who/nobody.png' is not in the list of probes; lines are 'path group'",
        ),
    ]


def test_the_built_in_set(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, facts, found = check("glyphs-lt", "--decode")
    assert code == 0
    assert facts["splits"]["train"] == {
        "images": 7806, "published": None, "classes": 80, "missing": None, "unreadable": None
    }  # fmt: skip
    assert "there are no files to check" in found[("built_in",)]["message"]
    assert facts["root"] is None
    assert list(tmp_path.iterdir()) == []  # nothing was drawn


def test_the_table_and_the_next_command(tiny, monkeypatch):
    (tiny / "val/c0/0.png").unlink()
    code, text = run("tiny")
    rows = {row.split()[0]: row.split() for row in text.splitlines() if row.split()}
    assert code == 3
    assert rows["train"] == ["train", "45", "5", "0", "0", "✓"]
    assert rows["val"] == ["val", "15", "5", "1", "0", "✗"]
    assert rows["error"] == ["error", "val", "1", "of", "15", "images", "missing:", "val/c0/0.png"]
    assert text.rstrip().endswith("✗ 1 error")
    result = CliRunner().invoke(app, ["data", "check", "tiny"])
    assert "oltr data check tiny" in result.stderr
    result = CliRunner().invoke(app, ["data", "check", "omniglot-small"])
    assert "next  oltr data prepare omniglot-small" in result.stderr
    assert result.exit_code == 3


def test_recipes_are_named_as_elsewhere(tiny, tmp_path):
    with pytest.raises(UsageProblem, match="did you mean 'tiny'"):
        run("tinny")
    broken = tmp_path / "broken.toml"
    broken.write_text('[data]\nimage_size = "large"\n')
    with pytest.raises(UsageProblem, match=r"broken\.toml: data\.image_size"):
        run(broken)
    moved = tmp_path / "moved"
    tiny.rename(moved)
    own = tmp_path / "own.toml"
    own.write_text(f"{RECIPE}root = {json.dumps(str(moved))}\n")
    assert check(own)[0] == 0


def test_many_files_are_checked_without_a_loop_over_folders(tmp_path, monkeypatch):
    """Each folder is listed once, however many of its files are looked for."""
    from oltr_cli.data.lists import locate as located

    rng = np.random.default_rng(0)
    names = [f"c{i % 20}/{i}.png" for i in rng.permutation(2000).tolist()]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(located.os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    assert located.find_files(tmp_path, {"train": names}).files == {"train": names}
    assert len(listed) == 20
