"""The queue in front of the network: batches, their end, its limits. Nothing here depends on how long things take."""

import threading

import numpy as np
import pytest

from oltr_cli.inference.serving.batcher import Batcher, Overloaded
from oltr_cli.inference.verdicts import Verdict

FOREVER = 3600.0
CROP = np.zeros((3, 2, 2), np.uint8)


def named(batch, top_k):
    return [Verdict(source.path, label=f"{len(batch.sources)} at once, top {top_k}") for source in batch.sources]


def test_a_full_batch_does_not_wait_for_the_window():
    with Batcher(named, size=3, window=FOREVER, room=10) as batcher:
        waiting = [batcher.submit(name, CROP, k) for name, k in (("a", 1), ("b", 4), ("c", 2))]
        found = [one.result(timeout=60) for one in waiting]
    assert [(v.path, v.label) for v in found] == [(name, "3 at once, top 4") for name in "abc"]
    assert (batcher.judged, batcher.batches) == (3, 1)


def test_without_a_window_one_image_is_answered_alone():
    with Batcher(named, size=64, window=0.0, room=10) as batcher:
        assert batcher.submit("a", CROP, 1).result(timeout=60).label == "1 at once, top 1"


def test_what_gathers_while_the_network_works_goes_together():
    at_work, go_on = threading.Event(), threading.Event()

    def slow(batch, top_k):
        at_work.set()
        assert go_on.wait(60)
        return named(batch, top_k)

    with Batcher(slow, size=64, window=0.0, room=10) as batcher:
        first = batcher.submit("a", CROP, 1)
        assert at_work.wait(60)
        rest = [batcher.submit(name, CROP, 1) for name in "bcdef"]
        go_on.set()
        assert first.result(timeout=60).label == "1 at once, top 1"
        assert {one.result(timeout=60).label for one in rest} == {"5 at once, top 1"}


def test_the_end_answers_what_waits():
    at_work, go_on = threading.Event(), threading.Event()

    def slow(batch, top_k):
        at_work.set()
        assert go_on.wait(60)
        return named(batch, top_k)

    batcher = Batcher(slow, size=2, window=FOREVER, room=10)
    with batcher:
        waiting = [batcher.submit(name, CROP, 1) for name in "abcde"]
        assert at_work.wait(60)
        threading.Timer(0, go_on.set).start()
    assert not batcher.alive
    assert [one.result(timeout=0).path for one in waiting] == list("abcde")


def test_room_is_counted_and_given_back():
    batcher = Batcher(named, size=2, window=0.0, room=5)
    batcher.reserve(3)
    batcher.reserve(2)
    with pytest.raises(Overloaded) as overloaded:
        batcher.reserve(1)
    assert 1 <= overloaded.value.seconds <= 60
    batcher.room.give_back(2)
    batcher.reserve(2)
    with pytest.raises(Overloaded):
        batcher.reserve(1)
    assert batcher.room.taken == 5


def test_many_threads_get_their_own_answers():
    def echo(batch, top_k):
        return [
            Verdict(source.path, confidence=float(crop[0, 0, 0]))
            for source, crop in zip(batch.sources, batch.crops, strict=True)
        ]

    answers = {}
    with Batcher(echo, size=7, window=0.001, room=1000) as batcher:

        def ask(number):
            crop = np.full((3, 2, 2), number, np.uint8)
            answers[number] = batcher.submit(str(number), crop, 1).result(timeout=60)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert {n: (v.path, v.confidence) for n, v in answers.items()} == {n: (str(n), float(n)) for n in range(200)}
    assert batcher.judged == 200


def test_a_batch_that_fails_takes_only_its_own_images_along():
    def fails_first(batch, top_k):
        if batch.sources[0].path == "a":
            raise RuntimeError("out of memory")
        return named(batch, top_k)

    with Batcher(fails_first, size=1, window=0.0, room=10) as batcher:
        bad, good = batcher.submit("a", CROP, 1), batcher.submit("b", CROP, 1)
        with pytest.raises(RuntimeError, match="out of memory"):
            bad.result(timeout=60)
        assert good.result(timeout=60).path == "b"


def test_who_left_is_not_judged():
    seen = []

    def note(batch, top_k):
        seen.extend(source.path for source in batch.sources)
        return named(batch, top_k)

    batcher = Batcher(note, size=10, window=0.0, room=10)
    gone, stays = batcher.submit("a", CROP, 1), batcher.submit("b", CROP, 1)
    assert gone.cancel()
    with batcher:
        assert stays.result(timeout=60).path == "b"
    assert seen == ["b"]
