"""`oltr data prepare cifar100`: splits, resizing, torchvision's download, interruption, and what is refused."""

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from oltr_cli.base.display import Display
from oltr_cli.data.lists.lists import open_lists
from oltr_cli.data.prepare import cifar as prepare_cifar
from oltr_cli.data.prepare import resize as resized
from oltr_cli.data.prepare.cifar import prepare_cifar100
from oltr_cli.data.prepare.cifar_folders import CIFAR100, FILTER
from oltr_cli.errors import DataProblem
from tests.helpers.cifar_files import contents, listed, noise, python2, python3, save

QUIET = Display(quiet=True)
CLASSES = ["ant", "bee", "maple_tree", "oak_tree"]
TRAIN, TEST, OPEN = 3, 12, 20


@pytest.fixture
def small(monkeypatch):
    """CIFAR-100 with 4 classes of 3 + 12 images, 20 open ones."""
    few = replace(CIFAR100, classes=len(CLASSES), per_class={"train": TRAIN, "test": TEST})
    monkeypatch.setattr(prepare_cifar, "CIFAR100", few)
    monkeypatch.setattr(prepare_cifar, "OPEN", OPEN)


@pytest.fixture
def root(tmp_path, small):
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("test", TEST)):
        for name in CLASSES:
            for i in range(count):
                save(tmp_path / "cifar100" / split / name / f"{name}_s_{i:06}.png", noise(rng))
    return tmp_path / "cifar100"


@pytest.fixture
def tiny(tmp_path):
    """Tiny ImageNet's validation images by class."""
    rng = np.random.default_rng(1)
    for i in range(OPEN):
        save(tmp_path / "tiny/val" / f"n{i % 4:08}" / f"val_{i}.JPEG", noise(rng, 64, 64))
    return tmp_path / "tiny"


def test_the_whole_set_by_command(oltr, tmp_path):
    """The published numbers: 50,000 training images, 1,000 + 9,000 test and open images, nothing in two lists."""
    home = tmp_path / "home"
    known, unknown = tmp_path / "known.png", tmp_path / "unknown.png"
    save(known, noise(np.random.default_rng(0)))
    save(unknown, noise(np.random.default_rng(0), 64, 64))
    for split, count in (("train", 500), ("test", 100)):
        for k in range(100):
            folder = home / "cifar100" / split / f"c{k:03}"
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"x_s_{i:06}.png").hardlink_to(known)
    (home / "tiny-imagenet-200/val/images").mkdir(parents=True)
    (home / "tiny-imagenet-200/val/val_annotations.txt").write_text("val_0.JPEG n0 0 0 1 1\n")
    for i in range(40):
        (home / f"tiny-imagenet-200/val/images/val_{i}.JPEG").hardlink_to(unknown)
    root = home / "cifar100"
    arguments = ("data", "prepare", "cifar100", "--open", home / "tiny-imagenet-200")
    done = oltr(*arguments, "--json", OLTR_DATA=str(home))
    result = json.loads(done.stdout)
    counts = {"train": 50_000, "val": 1_000, "test": 9_000, "open_val": 4, "open": 36}
    assert result["counts"] == counts
    assert result["images_written"] == {"open": 40}
    assert "40 open images; the paper's set has 10,000" in done.stderr
    assert done.stderr.rstrip().endswith("oltr run dme --dataset cifar100")
    splits, names, _ = open_lists("cifar100", root, root)
    assert names == [f"c{k:03}" for k in range(100)]
    assert {split: len(splits[split]) for split in counts} == counts
    assert [np.bincount(splits[s].labels).tolist() for s in ("train", "val", "test")] == [
        [n] * 100 for n in (500, 10, 90)
    ]
    every = [name for split in splits.values() for name in split.names]
    assert len(set(every)) == len(every) == 60_040
    planned = oltr("run", "plain", "--dataset", "cifar100", "--dry-run", OLTR_DATA=str(home))
    assert "50,000 training images of 100 classes" in planned.stdout
    again = oltr(*arguments, "--root", root)  # $OLTR_DATA is another now
    assert "nothing to write" in again.stderr
    assert f"oltr run dme --dataset cifar100 --set data.root={root}" in again.stderr
    assert "nothing is held out" in again.stdout
    shutil.rmtree(home)  # 60,000 names are a burden to whoever cleans up


def test_the_split_follows_from_the_file_names(root, tiny):
    prepared = prepare_cifar100(root, tiny / "val", QUIET)
    assert prepared.counts == {"train": 12, "val": 40, "test": 8, "open_val": 2, "open": 18}
    assert prepared.warnings == []
    val, test = listed(root, "val"), listed(root, "test")
    assert not val.keys() & test.keys()
    assert val.keys() | test.keys() == {p.relative_to(root).as_posix() for p in (root / "test").rglob("*.png")}
    for split in ("train", "val", "test"):
        assert all(CLASSES[label] == PurePosixPath(name).parts[1] for name, label in listed(root, split).items())
    assert {PurePosixPath(name).parts[0] for name in listed(root, "train")} == {"train"}
    # The draws of the classes are not the same places in each: the name decides.
    left = {label: {PurePosixPath(n).stem[-2:] for n, k in test.items() if k == label} for label in range(4)}
    assert len({frozenset(places) for places in left.values()}) > 1


def test_both_layouts_of_the_open_images_give_the_same_split(root, tiny, tmp_path):
    for image in (tiny / "val").rglob("*.JPEG"):
        target = tmp_path / "flat/val/images" / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target)
    (tmp_path / "flat/val/val_annotations.txt").write_text("val_0.JPEG n0 0 0 1 1\n")
    save(tmp_path / "flat/test/images/test_0.JPEG", noise(np.random.default_rng(0)))  # not among the validation images
    other = shutil.copytree(root, tmp_path / "other")
    prepare_cifar100(root, tiny, QUIET)
    prepare_cifar100(other, tmp_path / "flat", QUIET)
    for split, count in (("open", 18), ("open_val", 2)):
        by_class, flat = ({PurePosixPath(name).stem for name in listed(r, split)} for r in (root, other))
        assert by_class == flat
        assert len(flat) == count


def test_labels_in_open_lists_and_files_for_every_line(root, tiny):
    prepare_cifar100(root, tiny, QUIET)
    for split in ("open", "open_val"):
        assert set(listed(root, split).values()) == {-1}
        for name in listed(root, split):
            with Image.open(root / name) as image:
                assert (image.format, image.size, image.mode) == ("PNG", (32, 32), "RGB")


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (100, 50)])
def test_resized_as_torchvision_does(tmp_path, height, width):
    """Second implementation: the shorter side to 32 by an antialiased bilinear resize, then the middle."""
    pixels = noise(np.random.default_rng(2), height, width)
    save(tmp_path / "in/a.png", pixels)
    resized.resize_images({"a.png": tmp_path / "in/a.png"}, tmp_path / "out", 32, FILTER, QUIET)
    mine = np.asarray(Image.open(tmp_path / "out/a.png")).astype(int)

    def difference(antialias):
        whole = F.resize(torch.from_numpy(pixels).permute(2, 0, 1), [32], antialias=antialias)
        return np.abs(mine - F.center_crop(whole, [32, 32]).permute(1, 2, 0).numpy()).max()

    assert difference(antialias=True) <= 1
    assert difference(antialias=False) > 20


def test_odd_images_become_rgb(root, tiny):
    grey = np.full((40, 64), 30000, dtype=np.uint16)
    Image.fromarray(grey).save(tiny / "val/n00000000/val_100.png")
    Image.new("RGBA", (64, 64), (10, 20, 30, 255)).save(tiny / "val/n00000000/val_101.png")
    Image.new("L", (20, 20), 77).save(tiny / "val/n00000000/val_102.png")
    prepare_cifar100(root, tiny, QUIET)
    for number, colour in ((100, [117] * 3), (101, [10, 20, 30]), (102, [77] * 3)):
        image = np.asarray(Image.open(root / f"open/n00000000/val_{number}.png"))
        assert image.shape == (32, 32, 3)
        assert (image == colour).all()


def test_a_second_call_does_nothing(root, tiny):
    originals = contents(tiny)
    prepare_cifar100(root, tiny, QUIET)
    before = contents(root)
    again = prepare_cifar100(root, tiny, QUIET)
    assert (again.images_written, again.lists_written) == ({"open": 0}, [])
    assert prepare_cifar100(root, None, QUIET).warnings == []  # the open half stays
    assert contents(root) == before
    assert contents(tiny) == originals


def test_an_interrupted_call_is_taken_up(root, tiny, monkeypatch):
    before = set(contents(root))
    count = 0

    def interrupted(image, path):
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        resized_save(image, path)

    resized_save = resized.save_png
    monkeypatch.setattr(resized, "save_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_cifar100(root, tiny, QUIET)
    monkeypatch.undo()
    left = {name for name in contents(root) if name not in before}
    assert len(left) == 6  # five images and where they come from, no list
    assert "open/origin.json" in left


def test_an_interrupted_call_leaves_what_the_next_one_completes(root, tiny):
    prepare_cifar100(root, tiny, QUIET)
    whole = contents(root)
    gone = sorted(listed(root, "open"))[:3]
    (root / gone[0]).unlink()
    (root / gone[1]).unlink()
    (root / gone[2]).write_bytes(b"")  # a power failure
    (root / "open.txt").unlink()
    again = prepare_cifar100(root, tiny, QUIET)
    assert (again.images_written, again.lists_written) == ({"open": 3}, ["open.txt"])
    now = contents(root)
    assert {name: data for name, (_, data) in now.items()} == {name: data for name, (_, data) in whole.items()}
    assert {name for name in now if now[name][0] != whole[name][0]} == {*gone, "open.txt"}


def test_a_write_cut_short_leaves_no_image(tmp_path, monkeypatch):
    def full(self, file, format):
        Path(file).write_bytes(b"\x89PNG half")
        raise OSError(28, "No space left on device", str(tmp_path / ".a.png.1.tmp"))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(resized.OltrError, match=r"/a\.png: No space left on device; the same"):
        resized.save_png(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_without_open_images_there_is_a_warning(root):
    prepared = prepare_cifar100(root, None, QUIET)
    assert list(prepared.counts) == ["train", "val", "test"]
    assert "no open images, so no open-set evaluation" in prepared.warnings[0]


def _drop_class(root, tiny):
    shutil.rmtree(root / "train/bee")


def _rename_class(root, tiny):
    (root / "test/bee").rename(root / "test/wasp")


def _drop_image(root, tiny):
    (root / "train/bee/bee_s_000001.png").unlink()


def _empty_image(root, tiny):
    (root / "test/ant/ant_s_000001.png").write_bytes(b"")


def _drop_all(root, tiny):
    shutil.rmtree(root)


def _enlarge(root, tiny):
    save(root / "test/oak_tree/oak_tree_s_000000.png", noise(np.random.default_rng(0), 64, 64))


def _no_image(root, tiny):
    (root / "test/oak_tree/oak_tree_s_000000.png").write_text("x")


def _empty_open(root, tiny):
    shutil.rmtree(tiny / "val")
    (tiny / "val").mkdir()


def _no_open(root, tiny):
    shutil.rmtree(tiny)


def _damage_open(root, tiny):
    (tiny / "val/n00000001/val_5.JPEG").write_bytes(b"\xff\xd8\xff\xe0 half")
    (tiny / "val/n00000001/val_1.JPEG").write_bytes(b"")


def _double_open(root, tiny):
    save(tiny / "val/n00000001/val_5.png", noise(np.random.default_rng(0)))


def _own_list(root, tiny):
    (root / "train.txt").write_text("train/ant/ant_s_000000.png 0\n")


def _own_folder(root, tiny):
    save(root / "open/mine.png", noise(np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_class, r"train/ has 3 class folders, not 4\n.*only one of train/ and test/: bee"),
        (_rename_class, r"only one of train/ and test/: bee, wasp"),
        (_drop_image, r"train/ should have 3 images per class, but: bee 2"),
        (_empty_image, r"test/ should have 12 images per class, but: ant 11"),
        (_drop_all, r"no train/<class>/ and test/<class>/, and no cifar-100-python/; unpack"),
        (_enlarge, r"test/oak_tree/oak_tree_s_000000\.png is 64×64, not 32×32"),
        (_no_image, r"test/oak_tree/oak_tree_s_000000\.png cannot be decoded"),
        (_empty_open, r"--open .*val: has 0 images"),
        (_no_open, r"--open .*tiny: no such folder"),
        (_damage_open, r"2 of 20 images damaged, the first: .*n00000001/val_1\.JPEG"),
        (_double_open, r"val_5\.JPEG and val_5\.png would both become n00000001/val_5\.png"),
        (_own_list, r"train\.txt already there with other content"),
        (_own_folder, r"open: holds images that were made from other sources"),
    ],
)
def test_what_is_refused(root, tiny, damage, message):
    damage(root, tiny)
    with pytest.raises(DataProblem, match=f"(?s){message}"):
        prepare_cifar100(root, tiny, QUIET)
    assert not (root / "open.txt").exists()
    assert not (root / "test.txt").exists()


def test_open_images_of_another_origin_are_not_mixed_in(root, tiny):
    prepare_cifar100(root, tiny, QUIET)
    before = contents(root)
    save(tiny / "val/n00000000/val_0.JPEG", noise(np.random.default_rng(9), 80, 80))
    with pytest.raises(DataProblem, match="made from other sources"):
        prepare_cifar100(root, tiny, QUIET)
    assert contents(root) == before


@pytest.mark.parametrize("place", [".", "train", "test/ant", "open", ".."])
def test_known_images_are_never_open_ones(root, tiny, place):
    prepare_cifar100(root, tiny, QUIET)
    with pytest.raises(DataProblem, match="give only the originals"):
        prepare_cifar100(root, root / place, QUIET)


def test_exit_code_of_missing_data(oltr, tmp_path):
    done = oltr("data", "prepare", "cifar100", "--root", tmp_path / "none", check=3)
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "cifar100" in oltr("data", "prepare", "cifar-100", check=2).stderr


# torchvision's download


@pytest.fixture
def download(tmp_path, small):
    """``cifar-100-python`` with shuffled images; what its files hold."""
    return tmp_path / "cifar100", write_download(tmp_path / "cifar100" / "cifar-100-python", python2)


def write_download(folder, dumps, **changes):
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    held = {"meta": {"fine_label_names": list(CLASSES), "coarse_label_names": ["insects", "trees"]}}
    for split, count in (("train", TRAIN), ("test", TEST)):
        labels = rng.permutation(np.repeat(np.arange(len(CLASSES)), count)).tolist()
        held[split] = {
            "data": rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8),
            "fine_labels": labels,
            "filenames": [f"{CLASSES[label]}_s_{i:06}.png" for i, label in enumerate(labels)],
            "batch_label": "",
        }
    for name, value in held.items():
        value.update(changes.get(name, {}))
        (folder / name).write_bytes(dumps(value))
    return held


@pytest.mark.parametrize("dumps", [python2, python3])
def test_the_download_becomes_class_folders(download, dumps):
    root, _ = download
    held = write_download(root / "cifar-100-python", dumps)
    prepared = prepare_cifar100(root, None, QUIET)
    assert prepared.images_written == {"train": 12, "test": 48}
    for split, count in (("train", 12), ("test", 48)):
        # The trusting way to read the same file.
        loaded = pickle.loads((root / "cifar-100-python" / split).read_bytes(), encoding="latin1")
        assert loaded["filenames"] == held[split]["filenames"]
        assert len(list((root / split).rglob("*.png"))) == count
        for row, label, name in zip(loaded["data"], loaded["fine_labels"], loaded["filenames"], strict=True):
            image = np.asarray(Image.open(root / split / CLASSES[label] / name))
            naive = [[[row[c * 1024 + y * 32 + x] for c in range(3)] for x in range(32)] for y in range(32)]
            assert (image == np.array(naive)).all()
    assert (root / "classes.txt").read_text().split() == CLASSES
    again = prepare_cifar100(root, None, QUIET)
    assert (again.images_written, again.lists_written) == ({}, [])


def test_a_name_that_comes_again_loses_no_image(download):
    root, _ = download
    held = write_download(root / "cifar-100-python", python3, train={"filenames": ["same.png"] * 12})["train"]
    assert prepare_cifar100(root, None, QUIET).images_written == {"train": 12, "test": 48}
    found = [np.asarray(Image.open(path)).transpose(2, 0, 1).ravel() for path in (root / "train").rglob("*.png")]
    assert {row.tobytes() for row in found} == {row.tobytes() for row in held["data"]}
    assert prepare_cifar100(root, None, QUIET).images_written == {}


def test_unpacking_is_taken_up(download):
    root, _ = download
    prepare_cifar100(root, None, QUIET)
    whole = contents(root)
    one = next((root / "train/bee").iterdir())
    one.write_bytes(b"")
    assert prepare_cifar100(root, None, QUIET).images_written == {"train": 1, "test": 0}
    assert {n: d for n, (_, d) in contents(root).items()} == {n: d for n, (_, d) in whole.items()}


def test_labels_must_be_the_official_ones(root):
    held = {"fine_label_names": ["ant", "bee", "oak_tree", "maple_tree"]}
    (root / "cifar-100-python").mkdir()
    (root / "cifar-100-python/meta").write_bytes(python2(held))
    with pytest.raises(DataProblem, match="from label 2 on it differs"):
        prepare_cifar100(root, None, QUIET)


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_calls_something_is_refused(download, tmp_path):
    root, held = download
    marker = tmp_path / "called"
    dangerous = pickle.dumps({**held["train"], "extra": Evil(marker)}, protocol=4)
    (root / "cifar-100-python/train").write_bytes(dangerous)
    with pytest.raises(DataProblem, match=r"asks for (posix|nt)\.mkdir|asks for os\.mkdir"):
        prepare_cifar100(root, None, QUIET)
    assert not marker.exists()
    pickle.loads(dangerous)
    assert marker.exists()  # so the test could have failed


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("meta", {"fine_label_names": ["ant", "../../bee", "maple_tree", "oak_tree"]}, "cannot be used as a file name"),
        ("meta", {"fine_label_names": []}, "contains no names"),
        ("train", {"filenames": ["/etc/passwd"] * 12}, "'/etc/passwd' cannot be used as a file name"),
        ("train", {"fine_labels": [4] * 12}, r"not a list of 12 labels 0\.\.3"),
        ("train", {"fine_labels": [0] * 11}, "not a list of 12 labels"),
        ("train", {"data": np.zeros((12, 3000), np.uint8)}, "not an array of 12 × 3,072 bytes"),
        ("train", {"data": [1, 2]}, "not an array"),
        ("train", {"fine_labels": [0] * 12}, "train/ should have 3 images per class"),
    ],
)
def test_wrong_downloads(download, split, change, message):
    root, _ = download
    write_download(root / "cifar-100-python", python3, **{split: change})
    with pytest.raises(DataProblem, match=message):
        prepare_cifar100(root, None, QUIET)
    assert not (root / "train.txt").exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x02}(", b"no pickle at all", pickle.dumps([1]), pickle.dumps({"data": 1})],
    ids=["empty", "cut short", "text", "list", "other keys"],
)
def test_damaged_downloads(download, data):
    root, _ = download
    (root / "cifar-100-python/train").write_bytes(data)
    with pytest.raises(DataProblem, match=r"cifar-100-python/train: is not CIFAR-100's file"):
        prepare_cifar100(root, None, QUIET)


def test_arrays_of_other_types_are_refused(download):
    root, held = download
    for array in (np.zeros((12, 3072)), np.array([Evil("x")], dtype=object)):
        (root / "cifar-100-python/train").write_bytes(python3({**held["train"], "data": array}))
        with pytest.raises(DataProblem, match="an array of type"):
            prepare_cifar100(root, None, QUIET)


def test_an_incomplete_download(download):
    root, _ = download
    (root / "cifar-100-python/test").unlink()
    with pytest.raises(DataProblem, match=r"test: no such file; unpack the download again"):
        prepare_cifar100(root, None, QUIET)
