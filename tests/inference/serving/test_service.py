"""The server on real runs: the verdicts of oltr predict, whatever else is in the request or asked at the same time."""

import asyncio
import base64
import io
import json
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from starlette.requests import Request
from typer.testing import CliRunner

pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

from oltr_cli.app import app as command_line
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.serving.batcher import Batcher
from oltr_cli.inference.serving.service import Service, application
from oltr_cli.inference.serving.uploads import Limits
from oltr_cli.inference.verdicts import Verdict, judge
from oltr_cli.inference.wider import WiderAnswers
from oltr_cli.protocol.label_sets import SetRule
from tests.helpers.finished_runs import environment, make_finished_runs
from tests.helpers.web import call, form, post_files, post_json, served

WIDTH = 8  # images of a batch
LIMITS = Limits(files=24, file_bytes=200_000, request_bytes=1_000_000, pixels=1_000_000)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    yield make_finished_runs(home, {"plain": []})
    patch.undo()


@pytest.fixture(scope="module")
def recogniser(finished):
    return Recogniser.load(finished.names["plain"])


def service(recogniser, judged=None, window=0.0, room=100, padded=WIDTH, wider=None):
    def of_network(batch, top_k):
        return judge(recogniser, batch, top_k, wider=wider, padded=padded)

    batcher = Batcher(judged or of_network, WIDTH, window, room)
    return Service(recogniser, wider, batcher, LIMITS, "# a card", 2)


@pytest.fixture(scope="module")
def port(recogniser):
    with served(application(service(recogniser))) as number:
        yield number


def predicted(finished, files, *more):
    arguments = ["predict", finished.names["plain"], *files, "--batch-size", str(WIDTH), "--padded", "--json"]
    done = CliRunner().invoke(command_line, [*arguments, "--workers", "0", "--device", "cpu", *more])
    return json.loads(done.stdout)


def named(files):
    return [(Path(file).name, Path(file).read_bytes()) for file in files]


def rows(answer):
    return [{k: v for k, v in row.items() if k not in ("image", "status")} for row in answer["images"]]


def png(width, height, pixels=b""):
    """A PNG that says it has this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def noise(size):
    file = io.BytesIO()
    Image.effect_noise((size, size), 90).save(file, "PNG")
    return file.getvalue()


def test_files_and_base64_have_the_bits_of_oltr_predict(finished, port):
    files = [*finished.files("test")[:12], *finished.files("open")[:4]]
    told = predicted(finished, files, "-k", "3")
    answer = post_files(port, named(files), "?top_k=3")
    assert answer.status == 200
    assert rows(answer.json) == rows(told)
    assert [row["image"] for row in answer.json["images"]] == [Path(file).name for file in files]
    assert {row["status"] for row in answer.json["images"]} == {200}
    assert {k: answer.json[k] for k in ("run", "threshold", "counts", "complete")} == {
        k: told[k] for k in ("run", "threshold", "counts", "complete")
    }
    data = [{"name": name, "data": base64.b64encode(content).decode()} for name, content in named(files)]
    answer = post_json(port, {"images": data})
    assert answer.status == 200
    assert rows(answer.json) == rows(predicted(finished, files))


def test_one_image_alone_needs_no_padding_for_the_same_bits(finished, recogniser):
    file = finished.files("test")[0]
    with served(application(service(recogniser, padded=None))) as number:
        answer = post_files(number, named([file]))
    done = CliRunner().invoke(command_line, ["predict", finished.names["plain"], file, "--json", "--workers", "0"])
    assert rows(answer.json) == rows(json.loads(done.stdout))


BAD = {
    "empty.png": (b"", 422, "is empty"),
    "text.png": (b"no image", 415, "not an image"),
    "large.png": (noise(500), 413, "at most 0.2 MB a file"),
    "bomb.png": (png(60_000, 60_000, b"\0" * 1000), 413, "megapixels are decoded"),
    "wide.png": (png(2000, 1000, b"\0" * 6_001_000), 413, "has 2000 × 1000 pixels; at most 1 megapixels"),
    "cut.png": (noise(200)[:5000], 422, "cannot be decoded"),
    "flat.gif": (b"GIF89a" + b"\xff" * 40, 415, "cannot be decoded"),
    "lies.tif": (b"II*\0\x08\0\0\0" + b"\xff" * 60, 415, "cannot be decoded"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_bad_images_have_their_own_line_and_the_others_are_answered(finished, port):
    good = named(finished.files("test")[:3])
    bad = [(name, content) for name, (content, _, _) in BAD.items()]
    mixed = [bad[0], good[0], *bad[1:4], good[1], *bad[4:], good[2]]
    answer = post_files(port, mixed)
    assert answer.status == 200
    told = {row["image"]: row for row in answer.json["images"]}
    assert [row["image"] for row in answer.json["images"]] == [name for name, _ in mixed]
    for name, (_, status, word) in BAD.items():
        row = told[name]
        assert row["status"] == status, row
        assert word in row["error"], row
        assert "\n" not in row["error"]
        assert row["label"] is None
    expected = rows(predicted(finished, finished.files("test")[:3]))
    assert [{k: v for k, v in told[name].items() if k not in ("image", "status")} for name, _ in good] == expected
    assert answer.json["counts"]["failed"] == len(BAD)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_alone_is_a_4xx(port, name):
    content, status, word = BAD[name]
    answer = post_files(port, [(name, content)])
    assert answer.status == status
    assert word in answer.json["images"][0]["error"]


def test_bad_images_of_different_kinds_are_422(port):
    assert post_files(port, [("a", b"no image"), ("b", noise(500))]).status == 422


@pytest.mark.parametrize(
    ("value", "status", "word"),
    [
        (b"{", 400, "broken JSON"),
        (b"\xff", 400, "broken JSON"),
        (b"[" * 100_000, 400, "broken JSON"),
        (b"9" * 10_000, 400, "broken JSON"),
        ([], 400, 'the JSON must be {"images"'),
        ({"images": {}}, 400, 'the JSON must be {"images"'),
        ({"images": []}, 400, "has no images"),
        ({"images": ["AAAA"] * 25}, 413, "has 25 images; at most 24 images at a time"),
    ],
)
def test_json_that_cannot_be_used_is_one_line(port, value, status, word):
    answer = post_json(port, value)
    assert answer.status == status
    assert list(answer.json) == ["error"]
    assert word in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_entries_of_the_json_are_judged_one_by_one(finished, port):
    (_, content), *_ = named(finished.files("test"))
    text = base64.b64encode(content).decode()
    entries = [text, {"data": "data:image/png;base64," + text}, {"name": "x"}, "not base64!", {"data": 3}, None]
    answer = post_json(port, {"images": [*entries, "DATA:;base64," + text]})
    assert answer.status == 200
    assert [row["status"] for row in answer.json["images"]] == [200, 200, 422, 422, 422, 422, 200]
    assert [row["image"] for row in answer.json["images"]] == [
        "image 1",
        "image 2",
        "x",
        "image 4",
        "image 5",
        "image 6",
        "image 7",
    ]


def test_a_thousand_images_or_too_many_bytes_are_413(finished, port):
    ((name, content),) = named(finished.files("test")[:1])
    answer = post_files(port, [(name, b"x")] * 1000)
    assert (answer.status, "has too many images; at most 24 images" in answer.json["error"]) == (413, True)
    answer = post_files(port, [(name, content)] * 24)
    assert answer.status == 200
    too_much = {"error": "the request has more than 1.0 MB; send fewer images at a time"}
    answer = post_files(port, [("large", b"\0" * 5_000_000)])
    assert (answer.status, answer.json) == (413, too_much)
    chunks = (b"\0" * 100_000 for _ in range(50))  # http.client then sends no length
    answer = call(port, "POST", "/predict", chunks, Content_Type="application/json")
    assert (answer.status, answer.json) == (413, too_much)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"x", 415),
        ({"Content_Type": "image/png"}, b"x", 415),
        ({"Content_Type": "multipart/form-data"}, b"x", 400),
        ({"Content_Type": "multipart/form-data; boundary=x"}, b"rubbish", 400),
        ({"Content_Type": "multipart/form-data; boundary=x"}, b"", 400),
        ({"Content_Type": "application/json"}, b"", 400),
    ],
)
def test_a_request_that_is_none_is_refused_in_a_line(port, headers, body, status):
    answer = call(port, "POST", "/predict", body, **headers)
    assert answer.status == status
    assert list(answer.json) == ["error"]


@pytest.mark.parametrize("left", [-1, -10, -200])
def test_a_form_that_was_cut_off_is_refused_as_a_whole(finished, port, left):
    """Its last file would be missing from the answer without a word."""
    body = form(named(finished.files("test")[:3])).removesuffix(b"\r\n")[:left]
    kind = "multipart/form-data; boundary=a-boundary-that-no-image-holds"
    answer = call(port, "POST", "/predict", body, Content_Type=kind)
    assert (answer.status, answer.json) == (400, {"error": "the form cannot be read: its end is missing"})
    whole = form(named(finished.files("test")[:3])) + b"an epilogue\r\n"
    assert call(port, "POST", "/predict", whole, Content_Type=kind.replace("=a", '="a') + '"').status == 200


def test_a_parameter_that_there_is_not_is_named(finished, port):
    answer = post_files(port, named(finished.files("test")[:1]), "?top-k=3")
    assert (answer.status, answer.json) == (422, {"error": "no parameter 'top-k'; did you mean 'top_k'?"})
    assert post_files(port, named(finished.files("test")[:1]), "?coverage=0.9").status == 422


def test_a_strip_takes_no_memory_beyond_its_pixels(port):
    """1 × 300,000 pixels are below the limit, and the whole of it resized would be 32 × 10 million."""
    file = io.BytesIO()
    Image.new("L", (1, 300_000)).save(file, "PNG")
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert post_files(port, [("strip.png", file.getvalue())]).status == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_requests_that_outlast_the_end_are_told_so(recogniser):
    """uvicorn cancels them after the time that it leaves them; that was a traceback and a 500."""
    holding = service(recogniser)

    async def cancelled():
        async def receive():
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
        asked = asyncio.create_task(holding.predict(Request(scope, receive), 1))
        await asyncio.sleep(0)
        asked.cancel("timeout graceful shutdown exceeded")
        return await asked

    answer = asyncio.run(cancelled())
    assert answer.status_code == 503
    assert json.loads(answer.body)["error"].startswith("the server is stopping")
    assert holding.bodies.taken == 0


def test_a_text_field_is_no_file(port):
    body = form([("a", b"x")]).replace(b'; filename="a"', b"")
    kind = "multipart/form-data; boundary=a-boundary-that-no-image-holds"
    answer = call(port, "POST", "/predict", body, Content_Type=kind)
    assert (answer.status, answer.json["images"][0]["error"]) == (415, "is text, not a file")


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5"])
def test_a_top_k_that_is_none_is_a_line(port, top_k):
    answer = post_files(port, [("a", b"x")], f"?top_k={top_k}")
    assert answer.status == 422
    assert answer.json["error"].startswith("top_k: ")


def test_more_classes_than_there_are_is_all_of_them(finished, port):
    answer = post_files(port, named(finished.files("test")[:1]), "?top_k=1000000")
    assert len(answer.json["images"][0]["top"]) == 5


def test_many_at_once_get_their_own_verdicts_whatever_comes_with_them(finished, port):
    files = [*finished.files("test"), *finished.files("open")]
    expected = rows(predicted(finished, files, "-k", "2"))
    contents = named(files)

    def ask(number):
        mine = [(number + step) % len(files) for step in range(1 + number % 5)]
        sent = [contents[i] for i in mine]
        if number % 3 == 0:
            sent.append(("bad.png", b"no image"))
        answer = post_files(port, sent, "?top_k=2")
        return answer.status, rows(answer.json)[: len(mine)] == [expected[i] for i in mine]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(ask, range(120)))
    assert found == [(200, True)] * 120
    health = call(port, "GET", "/health").json
    assert health["waiting"] == 0
    assert health["batches"] < health["images"]


def test_without_room_it_is_503_with_retry_after_and_later_not(finished, recogniser):
    at_work, go_on = threading.Event(), threading.Event()

    def slow(batch, top_k):
        at_work.set()
        assert go_on.wait(60)
        return [Verdict(source.path, label="x", top=[("x", 1.0)]) for source in batch.sources]

    two = named(finished.files("test")[:2])
    one = service(recogniser, judged=slow, room=3)
    with served(application(one)) as number, ThreadPoolExecutor(1) as threads:
        first = threads.submit(post_files, number, two)
        assert at_work.wait(60)
        refused = post_files(number, two)
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json["error"].startswith("busy; try again in")
        assert call(number, "GET", "/health").json["waiting"] == 2  # still answered, and nothing of the refused waits
        go_on.set()
        assert first.result(60).status == 200
        assert post_files(number, two).status == 200


def test_bodies_that_are_held_have_a_limit(recogniser):
    one = service(recogniser)
    assert one.bodies.take(one.bodies.most)
    with served(application(one)) as number:
        answer = post_files(number, [("a", b"x")])
    assert (answer.status, "retry-after" in answer.headers) == (503, True)


def test_a_network_that_fails_is_said_and_the_server_goes_on(finished, recogniser):
    broken = threading.Event()
    broken.set()

    def fails(batch, top_k):
        if broken.is_set():
            raise RuntimeError("device out of memory\nwith a trace")
        return judge(recogniser, batch, top_k)

    with served(application(service(recogniser, judged=fails))) as number:
        answer = post_files(number, named(finished.files("test")[:1]))
        assert answer.status == 500
        assert answer.json["images"][0]["error"] == "could not be judged (device out of memory)"
        broken.clear()
        assert post_files(number, named(finished.files("test")[:1])).status == 200


def test_sets_and_taxa_are_served_as_they_are_predicted(finished, recogniser, tmp_path):
    tree = tmp_path / "tree.csv"
    tree.write_text("".join(f"{name},group {i % 2}\n" for i, name in enumerate(recogniser.class_names)))
    wider = WiderAnswers.of(recogniser, SetRule(0.9), tree, 0.6)
    files = finished.files("test")[:5]
    with served(application(service(recogniser, wider=wider))) as number:
        answer = post_files(number, named(files))
    told = predicted(finished, files, "--coverage", "0.9", "--taxonomy", str(tree), "--at-least", "0.6")
    assert rows(answer.json) == rows(told)
    assert answer.json["sets"] == told["sets"]
    assert all(row["taxon"]["probability"] >= 0.6 for row in answer.json["images"])


def test_health_card_and_pages_need_nothing_from_elsewhere(port):
    health = call(port, "GET", "/health")
    assert (health.status, health.json["status"]) == (200, "ok")
    assert health.json["limits"] == vars(LIMITS)
    card = call(port, "GET", "/model-card")
    assert (card.body, card.headers["content-type"]) == (b"# a card", "text/markdown; charset=utf-8")
    described = call(port, "GET", "/openapi.json").json
    assert set(described["paths"]) == {"/predict", "/health", "/model-card"}
    assert set(described["paths"]["/predict"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
    }
    for page in ("/", "/docs"):
        text = call(port, "GET", page).body.decode()
        assert "curl -F" in text
        assert not [word for word in ("http:", "https:", "//cdn", "src=", "@import") if word in text]
    missing = call(port, "GET", "/nowhere")
    assert (missing.status, missing.json) == (404, {"error": "Not Found"})
    assert call(port, "GET", "/predict").status == 405
