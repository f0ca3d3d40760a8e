"""Which images arguments name, and how they come: in order, few at a time, from worker processes."""

import io
import multiprocessing
import os
import queue
import sys
import time

import pytest
from PIL import Image

from oltr_cli.errors import OltrError
from oltr_cli.inference import decoding
from oltr_cli.inference.image_paths import PAUSE, Source, image_sources
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.recipe.data import DataSpec

SPEC = DataSpec(name="any", image_size=8, eval_resize=8)


def put(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(path, format="PNG")
    return str(path)


def paths(*arguments, **options):
    found = list(image_sources([str(a) for a in arguments], **options))
    assert all(not source.problem for source in found), found
    return [source.path for source in found]


def problem(*arguments, **options):
    (source,) = image_sources([str(a) for a in arguments], **options)
    return source.problem


def listed(*arguments, text, **options):
    return list(image_sources([*map(str, arguments), "-"], stdin=io.BufferedReader(io.BytesIO(text)), **options))


def test_a_file_is_taken_whatever_its_name_and_as_often_as_it_is_named(tmp_path):
    a = put(tmp_path / "no suffix")
    assert paths(a, a) == [a, a]


def test_a_folder_gives_its_visible_images_in_order_and_those_below(tmp_path):
    wanted = [put(tmp_path / name) for name in ("Z.JPG", "a ü.png", "sub/x.webp", "sub/y/b.TIFF")]
    for name in (".hidden.png", ".git/c.png", "notes.txt", "sub/script.py"):
        put(tmp_path / name)
    assert paths(tmp_path) == wanted


def test_links_are_followed_but_not_in_circles(tmp_path):
    a, elsewhere = put(tmp_path / "in" / "a.png"), put(tmp_path / "out" / "b.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "c.png").symlink_to(elsewhere)
    names = [path.removeprefix(str(tmp_path)) for path in paths(tmp_path / "in")]
    assert names == ["/in/a.png", "/in/c.png", "/in/linked/b.png"]
    assert a.endswith(names[0])


def test_patterns_are_filled_in_as_a_shell_does(tmp_path, monkeypatch):
    a, b, c = (put(tmp_path / name) for name in ("a.png", "b.png", "sub/c.png"))
    (tmp_path / "sub" / "notes.txt").write_text("")
    assert paths(tmp_path / "*.png") == [a, b]
    assert paths(tmp_path / "[b-z].png") == [b]
    assert paths(tmp_path / "s*") == [c]  # a folder that fits gives what is in it
    assert paths(tmp_path / "**" / "*.png") == [a, b, c]
    assert sorted(paths(tmp_path / "**")) == sorted([a, b, c, str(tmp_path / "sub" / "notes.txt")])  # nothing twice
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths("~/a.png", "~/?.png") == [a, a, b]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path):
    odd = put(tmp_path / "img[1].png")
    put(tmp_path / "img1.png")
    assert paths(odd) == [odd]


@pytest.mark.parametrize("name", ["nothing.png", "", "~nobody-of-this-name/a.png", "a\0b"])
def test_what_is_no_path_has_a_problem(tmp_path, monkeypatch, name):
    put(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert problem(name)


def test_problems_say_what_is_the_matter(tmp_path):
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "gone.png")
    assert problem(tmp_path / "empty") == "a folder without images"
    assert problem(tmp_path / "*.jpg") == "no file matches this pattern"
    assert problem(tmp_path / "pipe.png") == "not a file"
    assert problem(tmp_path / "dead.png") == "no such file"


def test_stdin_lists_paths_of_any_kind_but_no_patterns(tmp_path):
    a, c = put(tmp_path / "a b.png"), put(tmp_path / "sub" / "ü.png")
    text = f"{a}\n\n{a}\r\n{tmp_path / 'sub'}\n{tmp_path}/*.png\n{c}".encode()  # the last line without its end
    found = listed(text=text)
    assert [s.path for s in found if not s.problem] == [a, a, c, c]
    assert [s.problem for s in found if s.problem] == ["no such file"]


def test_stdin_stands_where_its_dash_stands(tmp_path):
    a, b, c = (put(tmp_path / f"{name}.png") for name in "abc")
    stdin = io.BufferedReader(io.BytesIO(f"{b}\n".encode()))
    assert paths(a, "-", c, stdin=stdin) == [a, b, c]


def test_paths_with_line_breaks_come_through_between_nuls(tmp_path):
    odd = put(tmp_path / "two\nlines \r.png")
    assert [s.path for s in listed(text=os.fsencode(odd) + b"\0", separator=b"\0")] == [odd]


def test_a_list_between_nuls_that_is_read_by_lines_says_so(tmp_path):
    a = put(tmp_path / "a.png")
    (source,) = listed(text=f"{a}\0{a}\0".encode())
    assert "--null" in source.problem


def test_a_name_that_is_no_utf8_survives(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        put(tmp_path / "x.png")
        (tmp_path / "x.png").rename(os.fsdecode(raw))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert [s.path for s in listed(text=raw + b"\n")] == [os.fsdecode(raw)]
    assert paths(tmp_path) == [os.fsdecode(raw)]


def test_an_unreadable_folder_has_a_problem(tmp_path, monkeypatch):
    a = put(tmp_path / "a.png")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(image_sources([str(tmp_path)]))
    assert found == [Source(a), Source(str(tmp_path / "closed"), "cannot be read (Permission denied)")]


def shades(batches):
    return [int(crop[0, 0, 0]) for batch in batches for crop in batch.crops]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [1, 5, 64])
def test_images_come_in_order_and_broken_ones_with_their_problem(tmp_path, workers, size):
    files = [put(tmp_path / f"{i}.png", i) for i in range(40)]
    (tmp_path / "7.png").write_bytes(b"no image")
    sources = [Source(file) for file in files]
    sources.insert(3, Source("nowhere", "no such file"))
    with ImageStream(sources, SPEC, size, workers) as stream:
        batches = list(stream)
    assert [s.path for b in batches for s in b.sources] == [s.path for s in sources]
    assert [s.problem for b in batches for s in b.sources if s.problem] == [
        "no such file",
        "cannot be decoded (not an image)",
    ]
    assert shades(batches) == [i for i in range(40) if i != 7]
    assert [len(b.sources) for b in batches] == [size] * (41 // size) + ([41 % size] if 41 % size else [])
    assert (stream.found, stream.complete) == (41, True)


def test_a_batch_without_an_image_has_none():
    with ImageStream([Source("a", "gone"), Source("b", "gone")], SPEC, 2, 0) as stream:
        (batch,) = stream
    assert batch.crops.shape == (0, 3, 8, 8)


def test_nothing_gives_nothing():
    with ImageStream([], SPEC, 8, 1) as stream:
        assert list(stream) == []


def test_few_images_are_decoded_ahead(tmp_path, monkeypatch):
    file, decoded = put(tmp_path / "a.png"), []
    real = decoding.decode_pixels
    monkeypatch.setattr(decoding, "decode_pixels", lambda path: decoded.append(path) or real(path))
    with ImageStream((Source(file) for _ in range(10_000)), SPEC, 4, 0) as stream:
        batches = iter(stream)
        for _ in range(3):
            next(batches)
        assert len(decoded) <= 3 * 4 + 4


def test_a_path_that_comes_alone_is_not_kept_waiting(tmp_path):
    """The second path is only sent after the first image has come out, and no time is waited for."""
    file, later = put(tmp_path / "a.png", 9), queue.Queue()
    with ImageStream(iter(later.get, None), SPEC, 64, 1) as stream:
        batches = iter(stream)
        later.put(PAUSE)
        took = []
        for _ in range(30):
            later.put(Source(file))
            later.put(PAUSE)
            started = time.monotonic()
            assert shades([next(batches)]) == [9]
            took.append(time.monotonic() - started)
        later.put(None)
        assert list(batches) == []
    assert min(took) < 0.1  # a fixed wait for the next path would be in each of them
    assert (stream.found, stream.complete) == (30, True)


def test_a_pause_ends_a_batch_only_if_nothing_came_after_it():
    a, b, c = (Source(name, "gone") for name in "abc")
    stream = ImageStream([], SPEC, 3, 0)
    for one in (PAUSE, a, PAUSE, b, PAUSE, PAUSE):
        stream._queue.put(one)
    assert stream._take() == [a, b]
    for one in (a, PAUSE, b, c, PAUSE):
        stream._queue.put(one)
    assert stream._take() == [a, b, c]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot say whether a pipe has something")
def test_an_open_pipe_says_when_it_has_nothing_more(tmp_path):
    a, b = put(tmp_path / "a.png"), put(tmp_path / "b.png")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stdin:
        found = image_sources(["-"], stdin=stdin)
        assert next(found) is PAUSE
        os.write(writer, os.fsencode(f"{a}\n{b}\n{a[:5]}"))
        assert [next(found), next(found), next(found)] == [Source(a), Source(b), PAUSE]
        os.write(writer, os.fsencode(f"{a[5:]}\n"))
        os.close(writer)
        assert list(found) == [Source(a)]


def test_a_list_in_a_file_has_no_pauses(tmp_path):
    a, text = put(tmp_path / "a.png"), tmp_path / "list.txt"
    text.write_text(f"{a}\n" * 5000)  # several blocks
    with text.open("rb") as stdin:
        assert list(image_sources(["-"], stdin=stdin)) == [Source(a)] * 5000


def test_what_goes_wrong_while_finding_is_raised_here(tmp_path):
    def sources():
        yield Source(put(tmp_path / "a.png"))
        raise OltrError("the list ends here")

    with ImageStream(sources(), SPEC, 1, 0) as stream, pytest.raises(OltrError, match="the list ends here"):
        list(stream)


def test_a_worker_that_dies_is_named_not_waited_for(tmp_path, monkeypatch):
    file = put(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "decode_pixels", lambda path: os._exit(9))  # forked workers take it along
    with ImageStream([Source(file)], SPEC, 1, 1) as stream, pytest.raises(OltrError, match=r"killed.*a\.png"):
        list(stream)


def test_leaving_early_ends_the_workers(tmp_path):
    file = put(tmp_path / "a.png")
    before = set(multiprocessing.active_children())
    with ImageStream((Source(file) for _ in range(1000)), SPEC, 4, 2) as stream:
        next(iter(stream))
        processes = set(multiprocessing.active_children()) - before
    assert processes
    assert not any(process.is_alive() for process in processes)


def test_an_extreme_shape_is_cropped_or_named(tmp_path):
    Image.new("RGB", (4000, 1)).save(tmp_path / "line.png")
    with ImageStream([Source(str(tmp_path / "line.png"))], SPEC, 1, 0) as stream:
        (batch,) = stream
    assert bool(batch.sources[0].problem) != (batch.crops.shape == (1, 3, 8, 8))
