"""A store: what is decoded, what is left alone, and what a kill, a full disk or a flipped bit does."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from oltr_cli.base.display import Display
from oltr_cli.data.feed.transforms import shrunk
from oltr_cli.data.images import decode_file
from oltr_cli.data.store import build as building
from oltr_cli.data.store import shards
from oltr_cli.data.store.build import build_store
from oltr_cli.data.store.folder import StoreFolder, find_stores
from oltr_cli.errors import OltrError, Stopped
from tests.helpers.in_process import oltr_here, somebody_else
from tests.helpers.tiny import write_image

QUIET = Display(quiet=True)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Nine images of 20 or 40 pixels, one of them broken, and a store of 30 pixels for them."""
    monkeypatch.setenv("OLTR_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(8):
        write_image(tmp_path / "photos" / f"{number}.png", number, rng, 40 if number % 2 else 20)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no pixels")
    names = [f"{number}.png" for number in range(8)] + ["broken.png"]
    return StoreFolder("mine", tmp_path / "photos", 30), names


def pixels_of(places, index):
    return places.shards[places.which[index]].image(places.row[index])


def test_pixels_are_those_of_the_files_shrunk(images):
    store, names = images
    places, decoded = build_store(store, names, 0, QUIET)
    assert decoded == 9
    for index, name in enumerate(names[:-1]):
        wanted = shrunk(decode_file(store.root / name), 30).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(pixels_of(places, index), wanted)
        assert wanted.shape[:2] == ((30, 30) if index % 2 else (20, 20))
    (reasons,) = [shard.reasons for shard in places.shards if shard.reasons]
    assert "broken.png: cannot be decoded" in reasons["broken.png"]
    assert [found.path for found in find_stores()] == [store.path]


def test_only_what_is_new_or_changed_is_decoded(images, monkeypatch):
    store, names = images
    assert build_store(store, names[:4], 0, QUIET)[1] == 4
    assert build_store(store, names, 0, QUIET)[1] == 5
    assert build_store(store, names[::-1], 0, QUIET)[1] == 0
    write_image(store.root / "2.png", 9, np.random.default_rng(3))
    os.utime(store.root / "5.png", ns=(1, 1))
    write_image(store.root / "new.png", 1, np.random.default_rng(4))
    places, decoded = build_store(store, [*names, "new.png"], 0, QUIET)
    assert decoded == 3
    assert build_store(store, [*names, "new.png"], 0, QUIET)[1] == 0
    np.testing.assert_array_equal(pixels_of(places, 2), decode_file(store.root / "2.png").permute(1, 2, 0).numpy())


def test_a_file_that_could_not_be_read_is_tried_again_when_asked_to(images):
    store, names = images
    (store.root / "3.png").chmod(0)
    store.path.mkdir(parents=True)
    store.path.chmod(0o777)
    with somebody_else(store.root, store.path):
        places, _ = build_store(store, names, 0, QUIET)
    assert places.column(shards.WIDTH)[3] == 0
    (store.root / "3.png").chmod(0o644)  # neither size nor time of the content changes
    assert build_store(store, names, 0, QUIET)[1] == 0
    places, decoded = build_store(store, names, 0, QUIET, again=True)
    assert decoded == 2  # and broken.png
    assert places.column(shards.WIDTH)[3] == 30
    places, decoded = build_store(store, names, 0, QUIET)
    assert decoded == 0
    np.testing.assert_array_equal(pixels_of(places, 0), decode_file(store.root / "0.png").permute(1, 2, 0).numpy())


def test_a_build_that_stops_goes_on(images, monkeypatch):
    store, names = images
    monkeypatch.setattr(building, "LARGEST", 2)
    write, written = building.write_shard, []

    def killed(*arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(*arguments))

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            build_store(store, names, 0, QUIET)
    (store.path / "stray.pixels").write_bytes(b"1")
    (store.path / ".x.pixels.123.tmp").write_bytes(b"1")
    places, decoded = build_store(store, names, 0, QUIET)
    assert decoded == 5
    assert not [file for file in store.path.iterdir() if file.name in ("stray.pixels", ".x.pixels.123.tmp")]
    assert all(places.shards[w].is_whole(r) for w, r in zip(places.which[:-1], places.row[:-1], strict=True))


def test_without_room_on_the_disk_nothing_is_started(images, monkeypatch):
    store, names = images
    usage = building.shutil.disk_usage(store.root)
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OltrError, match=r"needs about 0\.0 MB and 0\.0 MB are free; set OLTR_CACHE"):
        build_store(store, names, 0, QUIET)
    assert store.shards() == []


def test_a_full_disk_leaves_what_is_complete(images, monkeypatch):
    store, names = images
    monkeypatch.setattr(building, "LARGEST", 2)
    write, calls = shards.write_atomically, []

    def full(path, fill):
        calls.append(path)
        if len(calls) > 4:
            raise OltrError(f"cannot write {path}: No space left on device")
        write(path, fill)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_atomically", full)
        with pytest.raises(OltrError, match="No space left"):
            build_store(store, names, 0, QUIET)
    assert len(store.shards()) == 2
    assert build_store(store, names, 0, QUIET)[1] == 5


@pytest.mark.parametrize("damage", ["index", "shorter", "missing"])
def test_a_shard_whose_files_do_not_fit_is_built_again(images, damage):
    store, names = images
    build_store(store, names, 0, QUIET)
    (index,), (file,) = store.path.glob("*.npz"), store.path.glob("*.pixels")
    if damage == "index":
        content = bytearray(index.read_bytes())
        content[len(content) // 2] ^= 4
        index.write_bytes(bytes(content))
    elif damage == "shorter":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    places, decoded = build_store(store, names, 0, QUIET)
    assert decoded == 9
    assert all(places.shards[w].is_whole(r) for w, r in zip(places.which[:-1], places.row[:-1], strict=True))


@pytest.mark.parametrize("method", [1, 9, 12, 14, 77])
def test_an_index_with_any_method_of_compression_is_read_or_built_again(images, method):
    store, names = images
    index = shards.write_shard(store.path, store.root, names[:2], 30)
    content = bytearray(index.read_bytes())
    for header, place in ((b"PK\1\2", 10), (b"PK\3\4", 8)):
        content[content.rindex(header) + place] = method
    index.write_bytes(bytes(content))
    found = shards.read_shard(index)
    assert found is None or found.names == names[:2]


def test_an_old_index_is_gone_while_its_pixels_are_replaced(images, monkeypatch):
    store, names = images
    index = shards.write_shard(store.path, store.root, names, 30)
    monkeypatch.setattr(shards, "decode_file", lambda path: index.exists() and pytest.fail("the old index is there"))
    with pytest.raises(AttributeError):  # nothing was decoded
        shards.write_shard(store.path, store.root, names, 30)


@pytest.mark.parametrize("content", [b"", b"5", b"[]", b"{", b'{"dataset": "mine", "digest": "no"}'])
def test_a_store_that_does_not_say_what_it_is_is_named_and_mended(images, content):
    store, names = images
    build_store(store, names, 0, QUIET)
    (store.path / "store.json").write_bytes(content)
    assert f"{store.path}/store.json: missing or damaged" in oltr_here("data", "store", "ls")[2]
    assert build_store(store, names, 0, QUIET)[1] == 0
    assert [found.path for found in find_stores()] == [store.path]
    assert "damaged" not in oltr_here("data", "store", "ls")[2]


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(images):
    store, names = images
    build_store(store, names[:4], 0, QUIET)
    store.path.chmod(0o555)
    with somebody_else(store.path, store.root):
        assert build_store(store, names[:4], 0, QUIET)[1] == 0
        with pytest.raises(OltrError, match="cannot be written; set OLTR_CACHE to a writable folder"):
            build_store(store, names, 0, QUIET)
        (index,) = store.path.glob("*.npz")
    index.write_bytes(b"damaged")
    with somebody_else(), pytest.raises(OltrError, match="cannot be written; set OLTR_CACHE"):
        build_store(store, names[:4], 0, QUIET)
    store.path.chmod(0o755)


def test_a_second_process_waits_and_decodes_nothing(images, capsys):
    store, names = images
    lock, counts = store.lock(), []
    lock.acquire()
    other = threading.Thread(target=lambda: counts.append(build_store(store, names, 0, QUIET)[1]))
    other.start()
    while "another process is building" not in capsys.readouterr().err:
        time.sleep(0.01)
    shards.write_shard(store.path, store.root, names, 30)
    lock.release()
    other.join()
    assert counts == [0]


def test_by_command(images, tmp_path, monkeypatch):
    store, names = images
    monkeypatch.setenv("OLTR_DATA", str(tmp_path / "data"))
    for split in ("train", "val", "test"):
        lines = [f"{name} {number % 2}\n" for number, name in enumerate(names)]
        share = {"train": lines[:4], "val": lines[4:6], "test": lines[6:]}[split]
        (store.root / f"{split}.txt").write_text("".join(share))
    (tmp_path / "mine.toml").write_text('[data]\nname = "mine"\nimage_size = 16\neval_resize = 16\n')
    where = (tmp_path / "mine.toml", "--root", store.root)
    code, out, err = oltr_here("data", "store", *where, "--side", 30)
    assert code == 0
    assert "9 images, 9 decoded now" in out
    assert "1 image cannot be decoded: broken.png" in err
    assert "--set data.store_side=30" in err
    write_image(store.root / "broken.png", 1, np.random.default_rng(5))
    _, out, err = oltr_here("data", "store", *where, "--side", 30)
    assert "9 images, 1 decoded now" in out
    assert "cannot be decoded" not in err
    assert "mine 30 px 9 0.0 MB" in " ".join(oltr_here("data", "store", "ls")[1].split())
    assert oltr_here("data", "store", "rm", "nothing")[0] == 2
    assert oltr_here("data", "store", "ls", "mine")[0] == 2
    assert oltr_here("data", "store", "rm", "mine", "--yes")[0] == 0
    assert "no stores" in oltr_here("data", "store", "ls")[1]
    assert oltr_here("data", "store", "glyphs-lt")[0] == 2


def terminate_all(folder, root, names, side):
    """A scheduler's SIGTERM reaches the whole group; the other process is ended as the first one dies."""
    if names[0] != "0.png":
        signal.pause()
    os.kill(os.getppid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_of_the_whole_group_is_no_process_that_died(images, monkeypatch):
    store, names = images
    monkeypatch.setattr(building, "SMALLEST", 1)
    monkeypatch.setattr(building, "write_shard", terminate_all)
    with pytest.raises(Stopped) as caught:
        build_store(store, names, 2, QUIET)
    assert caught.value.exit_code == 143


def test_without_processes_a_stop_does_not_wait_for_all_images(images, monkeypatch):
    store, names = images
    monkeypatch.setattr(building, "LARGEST", 2)
    write, asked = building.write_shard, []

    def interrupted(*arguments):
        if not asked:
            asked.append(os.kill(os.getpid(), signal.SIGINT))
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_shard", interrupted)
        with pytest.raises(Stopped, match="2 of 9 images stored"):
            build_store(store, names, 0, QUIET)
    assert build_store(store, names, 0, QUIET)[1] == 7


def test_pixels_of_files_that_have_all_changed_are_removed(images, monkeypatch):
    store, names = images
    build_store(store, names, 0, QUIET)
    for name in names:
        os.utime(store.root / name, ns=(1, 1))
    size = store.size()
    monkeypatch.setattr(building, "LARGEST", 5)  # other shards, as with another number of processes
    assert build_store(store, names, 0, QUIET)[1] == 9
    assert store.size() < 1.5 * size
    (store.root / "0.png").rename(store.root / "away.png")
    for name in names[1:]:
        os.utime(store.root / name, ns=(2, 2))
    build_store(store, names[1:], 0, QUIET)
    (store.root / "away.png").rename(store.root / "0.png")
    assert build_store(store, names, 0, QUIET)[1] == 0


def test_looking_at_a_store_leaves_a_shard_that_another_process_is_replacing(images):
    store, names = images
    build_store(store, names, 0, QUIET)
    (file,) = store.path.glob("*.pixels")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert store.shards() == []
    file.write_bytes(whole)
    assert len(store.shards()) == 1
