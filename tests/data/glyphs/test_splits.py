"""The built-in dataset: what is in it, that no two classes look alike, that the same seed draws the same pixels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError

from oltr_cli.data.glyphs import alphabets
from oltr_cli.data.glyphs import drawing as glyph_drawing
from oltr_cli.data.glyphs import splits as glyphs
from oltr_cli.data.glyphs.splits import GlyphsSpec, class_names, draw, open_glyphs, plan, training_counts
from oltr_cli.errors import DataProblem

SMALL = GlyphsSpec(
    known_classes=6, open_classes=3, open_val_classes=2, tail_max=9, val_per_class=2, test_per_class=5, open_per_class=4
)
ALL_FACES = (*alphabets.TRAIN_FACES, *alphabets.VAL_FACES, *alphabets.TEST_FACES)
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def pixels(splits):
    return {name: np.array(split.images) for name, split in splits.items()}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def build(spec, home, progress=None):
    """The splits of ``spec``, with ``home`` as the user's $XDG_CACHE_HOME."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        return open_glyphs(spec, progress)[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build(SMALL, tmp_path_factory.mktemp("cache"))


# --- what is in it


def test_the_default_set_is_long_tailed_and_has_all_shot_groups():
    counts = training_counts(GlyphsSpec())
    assert len(counts) == 80
    assert 6000 <= counts.sum() <= 8500
    assert counts.min() >= 5
    assert np.sum(counts > 100) >= 20
    assert np.sum((counts >= 20) & (counts <= 100)) >= 20
    assert np.sum(counts < 20) >= 10
    scripts = np.array([alphabets.script_of(c) for c in alphabets.KNOWN])
    for script in ("Latin", "Greek", "Cyrillic"):
        assert np.sum(counts[scripts == script] < 20) >= 2
        assert np.sum(counts[scripts == script] > 100) >= 4


def test_the_plan_covers_every_class_and_is_balanced_where_it_should_be():
    spec = GlyphsSpec()
    plans = plan(spec)
    assert list(plans) == ["train", "val", "test", "open", "open_val", "open_train"]
    assert np.array_equal(np.bincount(plans["train"].labels), training_counts(spec))
    assert np.bincount(plans["val"].labels).tolist() == [10] * 80
    assert np.bincount(plans["test"].labels).tolist() == [25] * 80
    for split, classes in (("open", 30), ("open_val", 15), ("open_train", 30)):
        assert (plans[split].labels == -1).all()
        assert len(set(plans[split].characters)) == classes
        assert len(plans[split].labels) == 25 * classes
    names = [name for split in plans.values() for name in split.names]
    assert len(set(names)) == len(names)
    assert plans["train"].names[0] == f"train/U+{ord(alphabets.KNOWN[0]):04X} {plans['train'].faces[0]} #0"
    for split in ("train", "val", "test"):
        assert all(alphabets.KNOWN[i] == c for i, c in zip(plans[split].labels, plans[split].characters, strict=True))


def test_no_class_is_on_two_sides():
    known, opened, opened_val = set(alphabets.KNOWN), set(alphabets.OPEN), set(alphabets.OPEN_VAL)
    assert (len(known), len(opened), len(opened_val)) == (80, 30, 15)
    assert len(alphabets.KNOWN + alphabets.OPEN + alphabets.OPEN_VAL) == len(known | opened | opened_val)
    scripts = {alphabets.script_of(c) for c in known}
    assert not scripts & {alphabets.script_of(c) for c in opened | opened_val}
    outliers = set(alphabets.OUTLIERS)
    assert len(outliers) == len(alphabets.OUTLIERS) >= 30
    assert not outliers & (known | opened | opened_val)
    assert {alphabets.script_of(c) for c in outliers} == {"sign"}


def test_typefaces_of_test_are_held_out_and_shared_with_open():
    plans = plan(GlyphsSpec())
    faces = {split: set(p.faces) for split, p in plans.items()}
    assert not faces["train"] & faces["test"]
    assert not faces["train"] & faces["val"]
    assert not faces["val"] & faces["test"]
    assert faces["open"] == faces["test"]
    assert faces["open_val"] == faces["val"]
    assert faces["open_train"] == faces["train"]
    # and in the same proportions: the typeface says nothing about open or known
    for known, opened in (("test", "open"), ("val", "open_val"), ("train", "open_train")):
        share = [[np.mean(np.array(plans[s].faces) == face) for face in sorted(faces[s])] for s in (known, opened)]
        assert share[0] == pytest.approx(share[1], abs=0.01)


def test_fewer_classes_come_from_all_alphabets():
    names = class_names(GlyphsSpec(known_classes=12))
    assert len(set(names)) == 12
    for script in ("Latin", "Greek", "Cyrillic", "digit"):
        assert any(script in name for name in names)


@pytest.mark.parametrize(
    "values",
    [{"known_classes": 81}, {"known_classes": 1}, {"image_size": 8}, {"tail_max": 4}, {"strength": -1}, {"colour": 1}],
)
def test_impossible_specs_are_refused(values):
    with pytest.raises(ValidationError):
        GlyphsSpec(**values)


# --- the characters


def test_every_character_has_a_shape_in_every_typeface_it_is_drawn_in():
    plans = plan(GlyphsSpec())
    for split in plans.values():
        for face in set(split.faces):
            font = TTFont(FONTS / f"{face}.ttf")
            charmap, shapes = font.getBestCmap(), font["glyf"]
            for character in set(split.characters):
                name = charmap.get(ord(character))
                assert name not in (None, ".notdef"), f"{character} in {face}"
                outline = shapes[name]
                assert outline.isComposite() or outline.numberOfContours > 0, f"{character} in {face}"


def shape(font, character, side=32):
    """A character scaled to one size, zero mean and unit length; drawn another way than the dataset draws it."""
    canvas = Image.new("L", (400, 400))
    ImageDraw.Draw(canvas).text((140, 100), character, fill=255, font=font)
    glyph = canvas.crop(canvas.getbbox())
    scale = (side - 6) / max(glyph.size)
    glyph = glyph.resize([max(1, round(length * scale)) for length in glyph.size], Image.Resampling.BOX)
    square = np.zeros((side, side))
    top, left = (side - glyph.height) // 2, (side - glyph.width) // 2
    square[top : top + glyph.height, left : left + glyph.width] = np.asarray(glyph)
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    for axis in (0, 1):
        square = np.apply_along_axis(np.convolve, axis, square, kernel / kernel.sum(), mode="same")
    flat = (square - square.mean()).ravel()
    return flat / np.linalg.norm(flat)


def shapes_of(characters, faces):
    """(characters, faces, side²)."""
    fonts = [ImageFont.truetype(str(FONTS / f"{face}.ttf"), 96) for face in faces]
    return np.array([[shape(font, character) for font in fonts] for character in characters])


def worst_pair(a, b, characters_a, characters_b):
    """Largest correlation of two different characters in the same typeface, and which they are."""
    alike = np.einsum("ifd,jfd->fij", a, b).max(0)
    for i, character in enumerate(characters_a):
        for j, other in enumerate(characters_b):
            if character == other:
                alike[i, j] = -1
    i, j = np.unravel_index(alike.argmax(), alike.shape)
    return alike[i, j], characters_a[i] + characters_b[j]


def test_no_two_classes_look_alike():
    both = tuple(face for face in ALL_FACES if face.startswith("DejaVu"))
    stix = tuple(face for face in ALL_FACES if face.startswith("STIX"))
    characters = {
        "known": alphabets.KNOWN,
        "open": alphabets.OPEN,
        "open_val": alphabets.OPEN_VAL,
        "outliers": alphabets.OUTLIERS,
    }
    shapes = {side: shapes_of(cs, both) for side, cs in characters.items()}
    known_stix = shapes_of(alphabets.KNOWN, stix)

    def worst(side, other):
        return worst_pair(shapes[side], shapes[other], characters[side], characters[other])

    limits = {
        ("known", "known"): 0.935,
        ("known", "open"): 0.905,
        ("known", "open_val"): 0.905,
        ("open", "open_val"): 0.905,
        ("outliers", "known"): 0.905,
        ("outliers", "open"): 0.905,
        ("outliers", "open_val"): 0.905,
    }
    for (side, other), limit in limits.items():
        alike, pair = worst(side, other)
        assert alike < limit, f"{pair}: {alike:.3f}, {side} and {other}"
    alike, pair = worst_pair(known_stix, known_stix, alphabets.KNOWN, alphabets.KNOWN)
    assert alike < 0.935, f"{pair}: {alike:.3f}"
    # Also across typefaces: a slanted form must not be another class's upright one.
    every = np.concatenate([shapes["known"], known_stix], axis=1)
    across = np.einsum("ifd,jgd->ijfg", every, every, optimize=True).max((2, 3))
    np.fill_diagonal(across, -1)
    assert across.max() < 0.955


def test_the_measure_of_likeness_does_see_look_alikes():
    faces = ("DejaVuSans", "DejaVuSerif-Italic", "DejaVuSansMono-Bold")
    for pair in ("OО", "AА", "Ss", "mт", "uս", "nո", "hհ", "Il", "Xχ"):
        a, b = shapes_of(pair[0], faces), shapes_of(pair[1], faces)
        assert worst_pair(a, b, pair[0], pair[1])[0] > 0.935, pair


# --- the pixels


def test_images_are_drawn_as_planned(small):
    plans = plan(SMALL)
    for name, split in small.items():
        assert split.images.shape == (len(plans[name].labels), 32, 32)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert np.array_equal(split.labels, plans[name].labels)
        assert split.names == plans[name].names
        assert split.class_names == class_names(SMALL)
        assert len(split) == len(split.images)
        assert split.images.std((1, 2)).min() > 5, "an empty image"
        assert len(np.unique(split.images, axis=0)) == len(split)
    image = small["test"].image(3)
    assert image.dtype == torch.uint8
    assert image.shape == (1, 32, 32)
    assert np.array_equal(image[0].numpy(), small["test"].images[3])


def test_same_seed_same_pixels_in_any_order_and_batch(small, monkeypatch):
    monkeypatch.setattr(glyphs, "_BATCH", 7)
    plans = plan(SMALL)
    for name in reversed(plans):
        assert np.array_equal(draw(SMALL, plans[name]), small[name].images)


def test_another_seed_draws_other_pixels(small, tmp_path):
    other = build(SMALL.model_copy(update={"seed": 1}), tmp_path)
    assert not np.array_equal(other["test"].images, small["test"].images)
    assert other["test"].names == small["test"].names


def test_more_test_images_leave_the_training_images_alone(small, tmp_path):
    other = build(SMALL.model_copy(update={"test_per_class": 7}), tmp_path)
    assert np.array_equal(other["train"].images, small["train"].images)


def test_without_distortion_the_glyph_itself_is_drawn():
    spec = SMALL.model_copy(update={"strength": 0.0, "image_size": 96})
    test = plan(spec)["test"]
    images = draw(spec, test)
    for i in range(len(images)):
        font = ImageFont.truetype(str(FONTS / f"{test.faces[i]}.ttf"), 96)
        ink = Image.fromarray(np.where(images[i] > 64, images[i] - 32, 0).astype(np.uint8))
        glyph = np.asarray(ink.crop(ink.getbbox()).resize((26, 26)), float)
        canvas = Image.new("L", (400, 400))
        ImageDraw.Draw(canvas).text((140, 100), test.characters[i], fill=255, font=font)
        expected = np.asarray(canvas.crop(canvas.getbbox()).resize((26, 26)), float)
        assert np.corrcoef(glyph.ravel(), expected.ravel())[0, 1] > 0.85, test.names[i]


def test_strength_spoils_the_images(tmp_path):
    clean, spoilt = (build(SMALL.model_copy(update={"strength": s}), tmp_path)["test"].images for s in (0.0, 1.0))
    rough = [np.abs(np.diff(images.astype(float), axis=2)).mean() for images in (clean, spoilt)]
    assert rough[1] > 1.3 * rough[0]


def test_progress_counts_every_image(tmp_path):
    told = []
    splits = build(SMALL, tmp_path, lambda done, total: told.append((done, total)))
    total = sum(len(split) for split in splits.values())
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_face_without_a_character_is_an_error_that_names_both(monkeypatch):
    with pytest.raises(DataProblem, match=r"STIXGeneral\.ttf: no shape for Գ"):
        glyph_drawing.glyph_masks("AԳ", ("STIXGeneral",), 32)
    with pytest.raises(DataProblem, match="NoSuchFace"):
        glyph_drawing.glyph_masks("A", ("NoSuchFace",), 32)


# --- the cache


def folder_of(cache):
    (folder,) = (path for path in (cache / "oltr").iterdir() if path.is_dir())
    return folder


def refuse(*_):
    raise AssertionError("drawn although it was cached")


def test_what_was_drawn_is_used_again(small, tmp_path, monkeypatch):
    first = build(SMALL, tmp_path)
    assert equal(pixels(first), pixels(small))
    before = {path.name: path.stat().st_mtime_ns for path in folder_of(tmp_path).iterdir()}
    monkeypatch.setattr(glyphs, "draw", refuse)
    again = build(SMALL, tmp_path)
    assert isinstance(again["train"].images, np.memmap)
    assert equal(pixels(again), pixels(small))
    assert {path.name: path.stat().st_mtime_ns for path in folder_of(tmp_path).iterdir()} == before
    assert again["train"].image(0).shape == (1, 32, 32)


def test_another_spec_version_or_font_is_another_folder(tmp_path, monkeypatch):
    build(SMALL, tmp_path)
    build(SMALL.model_copy(update={"seed": 1}), tmp_path)
    monkeypatch.setattr(glyphs, "DRAWING_VERSION", glyphs.DRAWING_VERSION + 1)
    build(SMALL, tmp_path)
    fonts = tmp_path / "mpl" / "fonts" / "ttf"
    fonts.mkdir(parents=True)
    for face in ALL_FACES:
        content = (FONTS / f"{face}.ttf").read_bytes()
        (fonts / f"{face}.ttf").write_bytes(content + (b"\0" if face == alphabets.TEST_FACES[0] else b""))
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path / "mpl"))
    build(SMALL, tmp_path)
    assert (
        len([path for path in (tmp_path / "oltr").iterdir() if path.name.startswith("glyphs-") and path.is_dir()]) == 4
    )


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "manifest", "swap", "pickle"])
def test_a_damaged_cache_is_drawn_anew(small, tmp_path, damage):
    build(SMALL, tmp_path)
    folder = folder_of(tmp_path)
    file = folder / "val.npy"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "flip":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "remove":
        file.unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    elif damage == "swap":
        (folder / "open_val.npy").replace(file)
    else:
        np.save(file, np.array([{"a": 1}]), allow_pickle=True)
    assert equal(pixels(build(SMALL, tmp_path)), pixels(small))
    assert set(json.loads((folder / "manifest.json").read_text())["pixels"]) == set(small)
    assert file.read_bytes() == content


def test_half_a_folder_of_a_killed_process_is_cleared_away(small, tmp_path):
    build(SMALL, tmp_path)
    folder = folder_of(tmp_path)
    (folder.parent / f".{folder.name}.killed" / "new").mkdir(parents=True)
    (folder / "manifest.json").unlink()
    assert equal(pixels(build(SMALL, tmp_path)), pixels(small))
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]


def test_other_outliers_leave_the_digest_of_the_rest(small, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    splits, _, digest, further = open_glyphs(SMALL)
    assert list(further) == ["open_train"]
    monkeypatch.setattr(alphabets, "OUTLIERS", alphabets.OUTLIERS[::-1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    others = open_glyphs(SMALL)
    assert others[2] == digest
    assert others[3] != further
    assert others[0]["open_train"].names != splits["open_train"].names


def test_nothing_can_be_written(small, tmp_path):
    (tmp_path / "file").write_text("")
    assert equal(pixels(build(SMALL, tmp_path / "file")), pixels(small))


BUILD_ELSEWHERE = """
import sys
from oltr_cli.data.glyphs.splits import GlyphsSpec, open_glyphs
splits = open_glyphs(GlyphsSpec.model_validate_json(sys.argv[1]))[0]
print({name: int(split.images.astype(int).sum()) for name, split in splits.items()})
"""


def test_several_processes_at_once(small, tmp_path):
    command = [sys.executable, "-c", BUILD_ELSEWHERE, SMALL.model_dump_json()]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    expected = {name: int(split.images.astype(int).sum()) for name, split in small.items()}
    for process in processes:
        assert process.communicate(timeout=120)[0].strip() == str(expected)
        assert process.returncode == 0
    assert [path.name for path in (tmp_path / "oltr").iterdir() if path.name.startswith(".")] == []


def test_open_glyphs_keeps_its_cache_where_the_user_says(small, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    splits, names, digest, further = open_glyphs(SMALL)
    assert names == class_names(SMALL)
    assert equal(pixels(splits), pixels(small))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["oltr"]
    monkeypatch.setattr(glyphs, "draw", refuse)
    assert open_glyphs(SMALL)[2:] == (digest, further)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert open_glyphs(SMALL.model_copy(update={"seed": 1}))[2] != digest
