"""Image files of every kind against pixels that are known without Pillow, and files that are none."""

import io
import os
import struct
import subprocess
import sys
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from oltr_cli.data.images import FORMATS, SUFFIXES, check_image, decode_file
from oltr_cli.errors import DataProblem

FORMAT_OF = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".mpo": "JPEG", ".tif": "TIFF"}
FORMAT_OF |= {".heic": "HEIF", ".tiff": "TIFF", ".jp2": "JPEG2000", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM"}
SAVED = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", *(["WEBP"] if ".webp" in SUFFIXES else [])]
SAVED += [*(["JPEG2000"] if ".jp2" in SUFFIXES else []), *(["AVIF"] if ".avif" in SUFFIXES else [])]
if ".heic" in SUFFIXES:
    import pillow_heif

    pillow_heif.register_heif_opener()  # for saving; what is tested registers it by itself, see below
    SAVED += ["HEIF"]


@pytest.fixture
def upright():
    """Blocks of colours, 24 high and 40 wide, no two turns of which are alike."""
    blocks = np.random.default_rng(3).integers(0, 256, (3, 5, 3), np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def pixels(path):
    """(H, W, 3), and the header says the same size (as stored: it may lie on its side)."""
    decoded = decode_file(path)
    assert decoded.dtype.is_signed is False
    assert decoded.shape[0] == 3
    assert sorted(check_image(path)) == sorted(decoded.shape[1:])
    return decoded.permute(1, 2, 0).numpy()


def near(path, expected, tolerance):
    """Middles of the blocks agree: lossy formats smear their edges."""
    found = pixels(path)
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)[3::8, 3::8]
    assert difference.max() <= tolerance


def png(path, rows, bits, colour, *chunks):
    """A PNG by its specification. ``rows``: raw bytes of each row; ``chunks``: (name, content) before the pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    width = len(rows[0]) * 8 // (bits * channels)
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def on_white(value, alpha):
    return round(value * alpha / 255 + 255 * (255 - alpha) / 255)


# --- what lies in a file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_is_of_a_format_that_is_decoded_here(tmp_path, suffix, upright):
    path = tmp_path / f"Ä photo{suffix.upper()}"
    Image.fromarray(upright).save(path, FORMAT_OF.get(suffix, suffix[1:].upper()))
    near(path, upright, 70 if suffix == ".gif" else 40)


def test_suffixes_follow_what_pillow_can_do(monkeypatch):
    from oltr_cli.data import images

    monkeypatch.setattr(images.features, "check", lambda feature: feature == "webp")
    assert ".webp" in images._suffixes()
    assert not {".avif", ".jp2"} & images._suffixes()
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    assert ".heic" not in images._suffixes()
    assert ".png" in images._suffixes()


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, np.rot90),
        (7, lambda a: np.rot90(a.swapaxes(0, 1), 2)),
        (8, lambda a: np.rot90(a, -1)),
        (0, lambda a: a),
        (99, lambda a: a),
    ],
)
@pytest.mark.parametrize("format_", [f for f in SAVED if f in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF")])
def test_exif_turns_the_image_upright(tmp_path, orientation, stored, format_, upright):
    if format_ in ("AVIF", "HEIF") and orientation not in range(1, 9):
        pytest.skip("orientation is written in the format's own way, which knows no others")
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = exif.tobytes() if format_ == "HEIF" else exif  # pillow-heif rotates by bytes only
    Image.fromarray(np.ascontiguousarray(stored(upright))).save(tmp_path / "x", format_, exif=written, quality=95)
    near(tmp_path / "x", upright, 0 if format_ in ("PNG", "TIFF") else 40)


def test_broken_exif_costs_nothing(tmp_path, upright):
    for number, exif in enumerate((b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", b"Exif\0\0nonsense", b"Exif\0\0")):
        Image.fromarray(upright).save(tmp_path / f"{number}.png", exif=exif)
        assert np.array_equal(pixels(tmp_path / f"{number}.png"), upright)


def test_cmyk_is_turned_to_rgb(tmp_path):
    ink = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
    light = 255 - ink.astype(float)
    expected = (light[..., :3] * light[..., 3:] / 255).round().astype(int)
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.tif")
    assert np.abs(pixels(tmp_path / "ink.tif") - expected).max() <= 1
    large = ink.repeat(8, axis=0).repeat(8, axis=1)
    Image.fromarray(large, "CMYK").save(tmp_path / "ink.jpg", quality=98, subsampling=0)
    near(tmp_path / "ink.jpg", expected.repeat(8, axis=0).repeat(8, axis=1), 12)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jpg"])
def test_grey(tmp_path, suffix):
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / f"x.{suffix}")
    assert pixels(tmp_path / f"x.{suffix}").reshape(-1, 3).tolist() == [[77, 77, 77]] * 64


def test_one_bit(tmp_path):
    path = png(tmp_path / "x.png", [b"\xa0", b"\x0f"], 1, 0)
    assert (pixels(path)[..., 0] // 255).tolist() == [[1, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]
    (tmp_path / "x.pbm").write_text("P1 3 1\n1 0 1\n")  # 1 is black
    assert pixels(tmp_path / "x.pbm").tolist() == [[[0] * 3, [255] * 3, [0] * 3]]


def test_two_bits(tmp_path):
    assert pixels(png(tmp_path / "x.png", [b"\x1b"], 2, 0))[0, :, 1].tolist() == [0, 85, 170, 255]


def test_palette(tmp_path):
    colours = (b"PLTE", bytes([10, 20, 30, 200, 150, 100, 0, 0, 255]))
    path = png(tmp_path / "x.png", [bytes([0, 1, 2])], 8, 3, colours)
    assert pixels(path).tolist() == [[[10, 20, 30], [200, 150, 100], [0, 0, 255]]]


def test_palette_with_transparency(tmp_path):
    colours = (b"PLTE", bytes([10, 20, 30, 200, 150, 100, 0, 0, 255]))
    path = png(tmp_path / "x.png", [bytes([0, 1, 2])], 8, 3, colours, (b"tRNS", bytes([0, 128])))
    half = [on_white(value, 128) for value in (200, 150, 100)]
    assert pixels(path).tolist() == [[[255] * 3, half, [0, 0, 255]]]


def test_transparent_lies_on_white(tmp_path):
    rgba = [bytes([200, 100, 0, 0, 200, 100, 0, 255, 200, 100, 0, 64])]
    part = [on_white(value, 64) for value in (200, 100, 0)]
    assert pixels(png(tmp_path / "rgba.png", rgba, 8, 6)).tolist() == [[[255] * 3, [200, 100, 0], part]]
    grey = [bytes([100, 0, 100, 255, 100, 128])]
    expected = [[[value] * 3 for value in (255, 100, on_white(100, 128))]]
    assert pixels(png(tmp_path / "la.png", grey, 8, 4)).tolist() == expected
    one_grey_is_clear = png(tmp_path / "l.png", [bytes([7, 9])], 8, 0, (b"tRNS", b"\0\7"))
    assert pixels(one_grey_is_clear)[0, :, 0].tolist() == [255, 9]


def test_transparent_gif(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 150, 100])
    image.putdata([0, 1])
    image.save(tmp_path / "x.gif", transparency=0)
    assert pixels(tmp_path / "x.gif").tolist() == [[[255] * 3, [200, 150, 100]]]


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    values = np.array([0, 255, 256, 0x1234, 0x80FF, 0xFFFF], np.uint16)
    upper = [0, 0, 1, 0x12, 0x80, 0xFF]
    big_endian = values.astype(">u2").tobytes()
    assert pixels(png(tmp_path / "grey.png", [big_endian], 16, 0))[0, :, 2].tolist() == upper
    rgb = pixels(png(tmp_path / "rgb.png", [big_endian], 16, 2))
    assert rgb.tolist() == [[upper[:3], upper[3:]]]
    grey_alpha = values[[3, 5]].astype(">u2").tobytes() + values[[3, 0]].astype(">u2").tobytes()
    assert pixels(png(tmp_path / "la.png", [grey_alpha], 16, 4))[0, :, 0].tolist() == [0x12, 255]
    clear = png(tmp_path / "clear.png", [big_endian], 16, 0, (b"tRNS", b"\x12\x34"))
    assert pixels(clear)[0, :, 0].tolist() == [0, 0, 1, 255, 0x80, 0xFF]
    for kind in ("<u2", ">u2"):
        Image.fromarray(values.astype(kind).reshape(1, 6)).save(tmp_path / "grey.tif")
        assert pixels(tmp_path / "grey.tif")[0, :, 0].tolist() == upper
    (tmp_path / "grey.pgm").write_bytes(b"P5 6 1 65535\n" + big_endian)
    assert pixels(tmp_path / "grey.pgm")[0, :, 0].tolist() == upper
    dark = np.array([200, 255], ">u2").tobytes()  # all values below 256 are dark, not 8 bits
    (tmp_path / "dark.pgm").write_bytes(b"P5 2 1 65535\n" + dark)
    assert pixels(tmp_path / "dark.pgm").max() == 0


def test_sixteen_bits_are_turned_upright_too(tmp_path):
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(grey))).save(tmp_path / "x.png", exif=exif)
    assert pixels(tmp_path / "x.png")[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("format_", [f for f in SAVED if f in ("GIF", "PNG", "WEBP", "TIFF", "AVIF")])
def test_of_an_animation_the_first_frame_counts(tmp_path, format_, upright):
    first, second = Image.fromarray(upright), Image.new("RGB", (40, 24), "blue")
    first.save(tmp_path / "x", format_, save_all=True, append_images=[second, second], duration=50, lossless=True)
    near(tmp_path / "x", upright, {"GIF": 70, "AVIF": 40}.get(format_, 0))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_of_unknown_range_are_refused(tmp_path, kind):
    Image.fromarray(np.ones((2, 2), kind)).save(tmp_path / "x.tif")
    for read in (decode_file, check_image):
        with pytest.raises(DataProblem, match=r"x\.tif: .*unknown range; save it with 8 or 16 bits"):
            read(tmp_path / "x.tif")


# --- what is no image ----------------------------------------------------------------------------------------------


def refused(path, match):
    for read in (decode_file, check_image):
        with pytest.raises(DataProblem, match=match) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format_", SAVED)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_files_that_were_cut_short(tmp_path, format_, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "x", format_)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[: int(len(content) * share)])
    refused(tmp_path / "x", "cannot be decoded")


@pytest.mark.parametrize("format_", SAVED)
def test_damaged_files_give_pixels_or_a_line(tmp_path, format_, upright, capfd):
    Image.fromarray(upright).save(tmp_path / "x", format_)
    content = (tmp_path / "x").read_bytes()
    rng = np.random.default_rng(0)
    problems = []
    for _ in range(40):
        damaged = bytearray(content)
        for place in rng.integers(0, min(400, len(damaged)), 4):
            damaged[place] = rng.integers(256)
        (tmp_path / "x").write_bytes(damaged)
        for read in (check_image, decode_file):
            try:
                read(tmp_path / "x")
            except DataProblem as problem:  # nothing else may be raised
                problems.append(str(problem))
    assert all(problem.startswith(f"{tmp_path / 'x'}: ") for problem in problems)
    capfd.readouterr()  # libtiff speaks for itself


def test_padding_and_trailers_of_cameras_are_no_damage(tmp_path, upright):
    Image.fromarray(upright).save(tmp_path / "x.jpg", quality=95)
    content = (tmp_path / "x.jpg").read_bytes()
    for trailer in (b"\0" * 9000, b"SEFT and more of the maker's", content):
        (tmp_path / "x.jpg").write_bytes(content + trailer)
        near(tmp_path / "x.jpg", upright, 40)


def test_no_image(tmp_path):
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", "not an image")
    (tmp_path / "text.png").write_text("no image")
    refused(tmp_path / "text.png", "not an image")
    (tmp_path / "folder.jpg").mkdir()
    refused(tmp_path / "folder.jpg", "no such image")
    refused(tmp_path / "missing.jpg", "no such image")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "link.jpg", "no such image")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "no such image")


def test_a_bomb_is_not_unpacked(tmp_path):
    path = png(tmp_path / "x.png", [b"\0" * 10], 8, 0)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    refused(path, "3600000000 pixels.* exceeds limit")


def test_no_file_is_handed_to_another_program(tmp_path):
    assert not {"EPS", "PDF", "WMF"} & set(FORMATS)
    (tmp_path / "x.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    refused(tmp_path / "x.jpg", "not an image")


def test_a_photograph_of_a_phone_is_named_with_what_to_do(tmp_path, monkeypatch):
    from oltr_cli.data import images

    photo = tmp_path / "IMG_0001.HEIC"
    photo.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    if ".heic" in SUFFIXES:
        refused(photo, "cannot be decoded")  # there is no picture in it
    monkeypatch.setattr(images, "SUFFIXES", SUFFIXES - images.HEIC_SUFFIXES)
    refused(photo, r"is a HEIC photograph, which needs pillow-heif: pip install 'oltr\[heic\]'")


@pytest.mark.skipif(".heic" not in SUFFIXES, reason="needs the extra heic")
def test_heic_is_decoded_in_a_process_that_nobody_prepared(tmp_path, upright):
    path = tmp_path / "IMG_0001.HEIC"
    Image.fromarray(upright).save(path, "HEIF", quality=100)
    code = "import sys, pathlib; from oltr_cli.data.images import decode_pixels as decode; "
    code += "print(decode(pathlib.Path(sys.argv[1])).shape)"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "(24, 40, 3)\n"


def test_photographs_of_phones_are_not_passed_over_without_the_extra(tmp_path):
    """In a folder to predict, below a table of addresses and in an archive: each of them says later what to install."""
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "1.HEIC").write_bytes(heic)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in (("7.heic", heic), ("7.cls", b"fox")):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    code = f"""
import sys
sys.modules["pillow_heif"] = None
from pathlib import Path
from oltr_cli.base.display import Display
from oltr_cli.data.images import SUFFIXES
from oltr_cli.data.sources import webdataset
from oltr_cli.data.sources.local_files import LocalFiles
from oltr_cli.data.sources.unpack import Unpacker
from oltr_cli.inference.image_paths import image_sources
folder = Path({str(tmp_path)!r})
assert ".heic" not in SUFFIXES
print([Path(source.path).name for source in image_sources([str(folder)])])
print(LocalFiles(folder).find("https://x.org/1/medium.heic").name)
print(webdataset.read([folder / "x.tar"], Unpacker(folder / "out"), [], Display(quiet=True))[0].path.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split("\n")[:3]) == ("", ["['1.HEIC']", "1.HEIC", "7.heic"])
