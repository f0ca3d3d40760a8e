"""Two batches at once: the same answers in the same order as one after the other, and what goes wrong is raised."""

import json
import os
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.errors import OltrError
from oltr_cli.inference import decoding, image_stream
from oltr_cli.inference.image_paths import PAUSE, Source
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.inference.lanes import LANES, lanes
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.verdicts import judge
from oltr_cli.recipe.data import DataSpec
from tests.helpers.finished_runs import environment, make_finished_runs

SPEC = DataSpec(name="any", image_size=8, eval_resize=8)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": [], "dme": [], "plain+odin": [], "plain+mahalanobis": []})
    patch.undo()


def grey(path, shade=0):
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(path)
    return str(path)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.usefixtures("two_threads")
def test_a_cpu_has_two_lanes_of_half_the_threads_and_gets_them_back():
    before = blas_threads()
    with lanes(torch.device("cpu")) as count:
        assert count == LANES == 2
        assert torch.get_num_threads() == 1
        assert blas_threads() <= {1}
        told = []
        thread = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert told == [1]
    assert torch.get_num_threads() == 2
    assert blas_threads() == before


@pytest.mark.usefixtures("two_threads")
def test_a_gpu_or_a_single_thread_has_none():
    with lanes(torch.device("cuda")) as count:
        assert (count, torch.get_num_threads()) == (0, 2)
    torch.set_num_threads(1)
    with lanes(torch.device("cpu")) as count:
        assert (count, torch.get_num_threads()) == (0, 1)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", ["plain", "dme", "plain+odin", "plain+mahalanobis"])
@pytest.mark.parametrize("padded", [None, 7])
def test_verdicts_are_those_of_one_batch_after_the_other(finished, method, padded):
    """Bit for bit on one thread; on two, small products are summed in another order."""
    recogniser = Recogniser.load(finished.names[method])
    sources = [Source(file) for file in finished.files("test") + finished.files("open")] * 3
    sources.insert(11, Source("nowhere.png", "no such file"))
    judging = partial(judge, recogniser, top_k=3, explain=method == "dme", padded=padded)
    both = judged(sources, recogniser, judging)
    with ImageStream(sources, recogniser.recipe.data, 7, 1) as stream, lanes(torch.device("cpu")) as count:
        pairs = list(stream.through(judging, count))
        one = judged(sources, recogniser, judging)
    rows = [row for rows, _ in pairs for row in rows]
    assert rows == one
    assert [row.path for row in rows] == [source.path for source in sources]
    assert {len(batch.sources) for _, batch in pairs[:-1]} == {7}
    assert [row.top[0][0] for row in rows if not row.error] == [row.top[0][0] for row in both if not row.error]
    np.testing.assert_allclose([row.confidence for row in rows], [row.confidence for row in both], rtol=1e-5)


def judged(sources, recogniser, judging):
    """One batch after the other in this thread."""
    with ImageStream(sources, recogniser.recipe.data, 7, 0) as stream:
        return [row for rows, _ in stream.through(judging) for row in rows]


@pytest.mark.usefixtures("two_threads")
def test_the_command_judges_two_batches_at_once(finished, monkeypatch):
    """With decoding processes; without any, all is done in one thread. Rows and the exit code are the same."""
    used = set()
    real = Recogniser.scores
    monkeypatch.setattr(
        Recogniser, "scores", lambda *given: used.add(threading.current_thread().name[:4]) or real(*given)
    )
    words = ["predict", finished.names["plain"], *finished.files("test"), "nowhere.png", "--device", "cpu"]
    told = {}
    for workers in ("0", "1"):
        done = CliRunner().invoke(app, [*words, "--batch-size", "4", "--json", "--workers", workers])
        assert done.exit_code == 1, done.output
        told[workers] = (json.loads(done.stdout)["images"], set(used))
        used.clear()
    assert (told["0"][1], told["1"][1]) == ({"Main"}, {"lane"})
    one, both = told["0"][0], told["1"][0]
    assert [(row["image"], row["label"], row["error"]) for row in one] == [
        (row["image"], row["label"], row["error"]) for row in both
    ]
    np.testing.assert_allclose(
        [row["confidence"] for row in one[:-1]], [row["confidence"] for row in both[:-1]], rtol=1e-5
    )
    assert torch.get_num_threads() == 2


def test_lanes_work_at_the_same_time_and_answers_stay_in_order(tmp_path):
    """The first batch is held until the second has been worked on."""
    files = [grey(tmp_path / f"{i}.png", i) for i in range(6)]
    second_done = threading.Event()

    def work(batch):
        shade = int(batch.crops[0, 0, 0, 0])
        if shade == 0:
            assert second_done.wait(60)
        if shade == 1:
            second_done.set()
        return shade

    with ImageStream(map(Source, files), SPEC, 1, 1) as stream:
        assert [shade for shade, _ in stream.through(work, 2)] == [0, 1, 2, 3, 4, 5]


def test_a_path_that_comes_alone_is_answered_before_the_next_one_is_sent(tmp_path):
    file, asked = grey(tmp_path / "a.png", 9), threading.Semaphore(0)

    def sources():
        for _ in range(5):
            yield PAUSE
            assert asked.acquire(timeout=60)
            yield Source(file)

    with ImageStream(sources(), SPEC, 64, 1) as stream:
        asked.release()
        answers = 0
        for shade, _ in stream.through(lambda batch: int(batch.crops[0, 0, 0, 0]), 2):
            answers += shade == 9
            asked.release()
    assert answers == 5


def test_what_a_lane_raises_is_raised_here_and_the_others_end(tmp_path):
    files = [grey(tmp_path / f"{i}.png", i) for i in range(20)]

    def work(batch):
        if int(batch.crops[0, 0, 0, 0]) == 3:
            raise OltrError("the fourth")
        return batch

    with ImageStream(map(Source, files), SPEC, 1, 1) as stream, pytest.raises(OltrError, match="the fourth"):
        list(stream.through(work, 2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


def test_a_worker_that_dies_is_named(tmp_path, monkeypatch):
    file = grey(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "decode_pixels", lambda path: os._exit(9))
    with ImageStream([Source(file)], SPEC, 1, 1) as stream, pytest.raises(OltrError, match=r"killed.*a\.png"):
        list(stream.through(np.shape, 2))


def test_small_images_are_handed_over_by_the_batch(tmp_path, monkeypatch):
    """Large ones come in small tasks, since each takes long."""
    asked = []
    real = image_stream.decoded
    monkeypatch.setattr(image_stream, "decoded", lambda batch, spec: asked.append(len(batch)) or real(batch, spec))
    sources = [Source(grey(tmp_path / "a.png"))] * 96
    with ImageStream(sources, SPEC, 32, 0) as stream:
        assert len(list(stream)) == 3
    assert asked[:4] == [8, 8, 8, 8]
    assert asked[4:] == [32, 32]
    asked.clear()
    monkeypatch.setattr(decoding, "SMALL", 8 * 8 - 1)
    with ImageStream(sources, SPEC, 32, 0) as stream:
        assert len(list(stream)) == 3
    assert asked == [8] * 12
