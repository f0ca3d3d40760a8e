"""Contact sheets: what is where on the page, small images kept sharp, captions that fit, letters of any script."""

import itertools
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from oltr_cli.drawing import lettering
from oltr_cli.drawing.contact_sheet import FRAME, GAP, MARGIN, MAT, SIDE, Tile, contact_sheet, fit
from oltr_cli.drawing.lettering import NO_GLYPH, Lettering, drawable

RED, BLUE = "#FF0000", "#0000FF"
CELL = SIDE + 2 * FRAME


def solid(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.new("RGB", size, colour)


def boxes(sheet: Image.Image, colour: str) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of what is drawn in ``colour``, by rows of the page that are apart."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    where = (np.asarray(sheet) == wanted).all(axis=2)
    found = []
    for top, bottom in stretches(where.any(axis=1)):
        for left, right in stretches(where[top:bottom].any(axis=0)):
            found.append((left, top, right, bottom))
    return found


def stretches(hit: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hit.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def test_frames_stand_in_even_columns_and_rows():
    sheet = contact_sheet([Tile(solid((9, 9, 9)), frame=RED) for _ in range(7)], columns=3)
    found = boxes(sheet, RED)
    assert len(found) == 7
    assert {right - left for left, _, right, _ in found} == {bottom - top for _, top, _, bottom in found} == {CELL}
    assert [left for left, *_ in found[:3]] == [MARGIN + i * (CELL + GAP) for i in range(3)]
    assert found[0][:2] == (MARGIN, MARGIN)
    tops = sorted({top for _, top, *_ in found})
    assert len({b - a for a, b in itertools.pairwise(tops)}) == 1
    assert sheet.width == 2 * MARGIN + 3 * CELL + 2 * GAP


def test_a_group_starts_a_row_under_its_name():
    tiles = [Tile(solid((9, 9, 9)), frame=RED, group="head")] * 2 + [Tile(solid((9, 9, 9)), frame=BLUE, group="tail")]
    sheet = contact_sheet(tiles, columns=8, title="all")
    (*_, last), (tail,) = boxes(sheet, RED), boxes(sheet, BLUE)
    assert tail[0] == MARGIN
    assert tail[1] > last[3] + Lettering(16).line_height  # room for the name between the rows
    between = np.asarray(sheet.convert("L"))[last[3] : tail[1]]
    assert between.min() < 60


def test_small_images_keep_square_pixels_with_sharp_edges():
    rng = np.random.default_rng(0)
    for side in (8, 32, 48, 50):
        pixels = rng.integers(0, 255, (3, side, side), dtype=np.uint8)
        shown = np.asarray(fit(pixels))
        assert shown.shape == (SIDE, SIDE, 3)
        centres = ((np.arange(side) + 0.5) * SIDE / side).astype(int)
        assert (shown[np.ix_(centres, centres)] == pixels.transpose(1, 2, 0)).all(), side
    assert len(np.unique(np.asarray(fit(pixels[:1, :4, :4])))) <= 16  # grey; nothing in between is made up


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (100, 3), (1, 1), (128, 128), (5000, 1)])
def test_the_longer_side_fits(size):
    shown = fit(solid((1, 2, 3), size))
    assert max(shown.size) == SIDE
    assert shown.getpixel((0, 0)) == (1, 2, 3)
    assert fit(shown) is not None
    assert fit(shown).tobytes() == shown.tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_any_mode_can_be_shown(mode):
    sheet = contact_sheet([Tile(Image.new(mode, (20, 20)), frame=RED)])
    assert len(boxes(sheet, RED)) == 1


def test_a_broken_image_is_a_crossed_box():
    sheet = contact_sheet([Tile(None, ("gone.jpg", "no such file"), RED)])
    inside = np.asarray(sheet)[MARGIN + FRAME : MARGIN + CELL - FRAME, MARGIN + FRAME : MARGIN + CELL - FRAME]
    assert tuple(inside[SIDE // 2, 5]) == tuple(int(MAT[i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(inside[SIDE // 2, SIDE // 2]) != tuple(inside[SIDE // 2, 5])
    below = np.asarray(sheet.convert("L"))[MARGIN + CELL + 2 :]
    assert below.min() < 100  # the caption


def test_nothing_to_show_is_a_page_with_a_title():
    sheet = contact_sheet([], title="nothing")
    assert np.asarray(sheet.convert("L")).min() < 60
    assert contact_sheet([]).size[1] > 0


def test_captions_keep_to_their_image(monkeypatch):
    """However long, no line reaches into a neighbour's, and the page has room for all lines."""
    drawn = []
    draw = Lettering.draw
    monkeypatch.setattr(
        Lettering,
        "draw",
        lambda self, on, x, y, text, ink: drawn.append((x, y, self, text)) or draw(self, on, x, y, text, ink),
    )
    long = ("Donaudampfschifffahrtsgesellschaftskapitänsmütze", "a b c " * 30, "", "x")
    sheet = contact_sheet([Tile(solid((9, 9, 9)), long, RED), Tile(solid((9, 9, 9)), ("ok",), RED)], columns=2)
    first, second = boxes(sheet, RED)
    for x, y, type_, text in drawn:
        left, _, right, bottom = second if text == "ok" else first
        assert x >= left - GAP / 2
        assert x + type_.width(text) <= right + GAP / 2
        assert bottom < y <= sheet.height - MARGIN - type_.line_height + GAP
    assert {text for *_, text in drawn if text.endswith("…")}


@pytest.mark.parametrize("text", ["one two three four five six", "Early_Aramaic/character01", "ab" * 60, "", " ", "x"])
def test_wrapping_loses_nothing_but_what_it_says(text):
    type_ = Lettering(13)
    lines = type_.wrap(text, 90, most=2)
    assert 1 <= len(lines) <= 2
    assert all(type_.width(line) <= 90 for line in lines)
    if lines[-1].endswith("…"):
        assert text.replace(" ", "").startswith("".join(lines)[:-1].replace(" ", ""))
    else:
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_words_break_behind_a_sign_where_there_is_one():
    assert Lettering(13).wrap("Early_Aramaic/character01", 110)[0] == "Early_Aramaic/"


def test_a_line_that_is_too_narrow_for_a_character_still_ends():
    assert Lettering(13).wrap("wide", 1, most=2)[-1].endswith("…")


def test_characters_of_no_font_become_a_box(monkeypatch):
    monkeypatch.setattr(lettering, "_system_font", lambda character: None)
    type_ = Lettering(13)
    assert [text for _, text in type_._runs("ab猫猫c")] == [f"ab{NO_GLYPH}{NO_GLYPH}c"]
    assert type_.width("猫") == type_.width(NO_GLYPH)
    type_.draw(ImageDraw.Draw(Image.new("RGB", (50, 50))), 0, 0, "猫", "#000000")
    assert drawable("Bär 猫") == f"Bär {NO_GLYPH}"
    assert [text for _, text in type_._runs("Дαäა")] == ["Дαäა"]


def test_other_fonts_help_out(monkeypatch):
    """A character that DejaVu lacks is drawn with the font that has it, in its place among the others."""
    import matplotlib

    other = f"{matplotlib.get_data_path()}/fonts/ttf/STIXGeneral.ttf"
    monkeypatch.setattr(lettering, "_system_font", lambda character: other)
    type_ = Lettering(13)
    runs = type_._runs("a猫b")
    assert [text for _, text in runs] == ["a", "猫", "b"]
    assert runs[1][0] == other
    assert runs[0][0] == runs[2][0] != other


def test_the_system_is_asked_for_a_font_once():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lettering._system_font("\U0010fffe") is None  # a noncharacter: no font has it
    hits = lettering._system_font.cache_info().hits
    lettering._system_font("\U0010fffe")
    assert lettering._system_font.cache_info().hits == hits + 1
