"""oltr predict: every form of the answer, on real runs whose dataset is gone."""

import csv
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from oltr_cli.app import app
from oltr_cli.base.files import read_json
from oltr_cli.base.text import number, shortest
from oltr_cli.commands.predict import predict as predict_command
from oltr_cli.errors import DataProblem, OltrError, UsageProblem
from oltr_cli.inference.formats.rows import FORMATS, Whole, csv_line
from oltr_cli.inference.image_paths import Source
from oltr_cli.inference.image_stream import ImageStream
from oltr_cli.inference.verdicts import Reasons, Totals, Verdict
from oltr_cli.recipe.data import DataSpec
from oltr_cli.runs.scores import SavedScores
from tests.helpers.finished_runs import environment, make_finished_runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    patch = environment(home)
    made = make_finished_runs(home, {"plain": [], "dme": [], "dme+energy": [], "plain+openmax": []})
    # One of the names that a CSV has to survive.
    for result in made.runs.glob("tiny/*/*/result.json"):
        content = read_json(result)
        content["class_names"][0] = 'thing, "quoted"\nand broken'
        result.write_text(json.dumps(content))
    yield made
    patch.undo()


def predict(*arguments, stdin=None):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--workers", "0", "--device", "cpu"], input=stdin)


def answer(*arguments, **options):
    done = predict(*arguments, "--json", **options)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", ["plain", "dme", "dme+energy", "plain+openmax"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_answer_is_what_the_run_saved_for_the_same_images(finished, method, batch_size):
    names = json.loads((finished.path(method) / "result.json").read_text())["class_names"]
    told = answer(finished.names[method], *finished.files("test"), *finished.files("open"), "--batch-size", batch_size)
    saved = [finished.scores(method, split) for split in ("test", "open")]
    prediction = np.concatenate([scores.prediction for scores in saved])
    confidence = np.concatenate([scores.confidence for scores in saved])
    rows = told["images"]
    assert [row["image"] for row in rows] == finished.files("test") + finished.files("open")
    assert [row["top"][0]["class"] for row in rows] == [names[p] for p in prediction]
    # OpenMax's Weibull tails are steep: what another batch changes in a logit's last digit they show.
    close = 1e-4 if method == "plain+openmax" else 1e-5
    np.testing.assert_allclose([row["confidence"] for row in rows], confidence, rtol=close, atol=close)
    tau = json.loads((finished.path(method) / "result.json").read_text())["threshold"]["value"]
    assert told["threshold"]["value"] == tau
    sure = np.abs(confidence - tau) > 1e-4
    unknown = np.array([row["unknown"] for row in rows])
    np.testing.assert_array_equal(unknown[sure], confidence[sure] < tau)
    assert [row["label"] for row in rows] == [
        "unknown" if u else names[p] for u, p in zip(unknown, prediction, strict=True)
    ]
    counts = told["counts"]
    assert counts == {"images": 30, "known": 30 - unknown.sum(), "unknown": unknown.sum(), "failed": 0}
    assert told["complete"] is True


def test_top_k_are_the_largest_probabilities_of_the_softmax(finished):
    (row,) = answer(finished.names["plain"], finished.files("test")[0], "--top-k", 99)["images"]
    logits = finished.scores("plain", "test").logits[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    assert len(row["top"]) == 5
    np.testing.assert_allclose([one["probability"] for one in row["top"]], np.sort(shares)[::-1], rtol=1e-5)


def test_a_threshold_moves_the_line_and_nothing_else(finished):
    files = finished.files("test")
    none, all_ = (answer(finished.names["dme"], *files, "--threshold", tau) for tau in ("-1", "2"))
    assert none["counts"]["unknown"] == 0
    assert all_["counts"]["unknown"] == len(files)
    assert all_["threshold"] == {"rule": "fixed:2.0", "value": 2.0}
    assert [row["top"] for row in none["images"]] == [row["top"] for row in all_["images"]]


def broken_folder(finished, tmp_path):
    """A good image, a broken one, and a good one with an odd name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name, file in zip(("1.png", 'ü, "3"\n.png'), finished.files("open"), strict=False):
        (folder / name).write_bytes(Path(file).read_bytes())
    (folder / "2.png").write_bytes(b"no image")
    return folder


def test_a_bad_file_is_a_row_and_the_exit_code_is_1(finished, tmp_path):
    folder = broken_folder(finished, tmp_path)
    done = predict(finished.names["dme"], folder, tmp_path / "nowhere.png", "--json")
    assert isinstance(done.exception, OltrError)
    assert done.exception.exit_code == 1
    assert str(done.exception) == "2 of 4 images failed; see the errors in their rows"
    told = json.loads(done.stdout)
    assert [row["error"] for row in told["images"]] == [None, "cannot be decoded (not an image)", None, "no such file"]
    assert {row["label"] for row in told["images"] if row["error"]} == {None}
    assert told["counts"]["failed"] == 2


def test_csv_is_read_back_whatever_is_in_a_name(finished, tmp_path):
    folder = broken_folder(finished, tmp_path)
    done = predict(finished.names["dme"], folder, "--format", "csv", "-k", 2, "--explain")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["image"] for row in rows] == [str(folder / name) for name in ("1.png", "2.png", 'ü, "3"\n.png')]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    told = json.loads(predict(finished.names["dme"], folder, "--json", "-k", 2, "--explain").stdout)["images"]
    for row, same in zip(rows, told, strict=True):
        assert None not in row  # no line is longer than the header
        if same["error"]:
            assert {value for name, value in row.items() if name not in ("image", "error")} == {""}
            continue
        assert row["unknown"] == str(same["unknown"]).lower()
        assert float(row["confidence"]) == same["confidence"]
        assert [row["class_1"], row["class_2"]] == [one["class"] for one in same["top"]]
        assert float(row["reachability"]) == same["reachability"]
        assert [row[f"nearest_{i}"] for i in (1, 2, 3)] == [one["class"] for one in same["nearest"]]
        assert [float(row[f"coefficient_{i}"]) for i in (1, 2, 3)] == [one["coefficient"] for one in same["infused"]]
    header, row = csv.reader(io.StringIO(predict(finished.names["dme"], folder / "1.png", "-f", "csv", "-k", 5).stdout))
    assert 'thing, "quoted"\nand broken' in row
    assert len(row) == len(header)


def test_json_lines_are_the_rows_of_the_object(finished, tmp_path):
    folder = broken_folder(finished, tmp_path)
    lines = predict(finished.names["plain"], folder, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == json.loads(
        predict(finished.names["plain"], folder, "--json").stdout
    )["images"]


def test_other_programs_get_the_same_verdicts(finished, tmp_path):
    files = [*finished.files("test"), *finished.files("open")]
    name, package = finished.names["dme"], tmp_path / "package"
    tau = ["--threshold", np.median([row["confidence"] for row in answer(name, *files)["images"]])]
    rows = answer(name, *files, "-k", 3, *tau)["images"]
    unknown = [row["unknown"] for row in rows]
    assert 0 < sum(unknown) < len(rows)
    md = json.loads(predict(name, *files, "--format", "megadetector", "-k", 3, *tau).stdout)
    assert [image["file"] for image in md["images"]] == files
    for image, row in zip(md["images"], rows, strict=True):
        (detection,) = image["detections"]
        told = [
            {"class": md["classification_categories"][id_], "probability": share}
            for id_, share in detection.get("classifications", [])
        ]
        assert told == ([] if row["unknown"] else row["top"])
    coco = json.loads(predict(name, *files, "--format", "coco", *tau).stdout)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert [names[one["category_id"]] for one in coco["annotations"]] == [row["label"] for row in rows]
    assert [one["score"] for one in coco["annotations"]] == [row["confidence"] for row in rows]
    done = predict(name, *files, "--format", "camtrap-dp", "--out", package, *tau)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "not valid until these are filled in: latitude and longitude" in done.stderr.replace("\n", " ")
    with (package / "observations.csv").open(newline="") as text:
        kinds = [row["observationType"] for row in csv.DictReader(text)]
    assert kinds == ["unknown" if one else "animal" for one in unknown]


@pytest.mark.parametrize("format_", ["megadetector", "coco", "camtrap-dp"])
def test_a_call_that_fails_leaves_nothing_that_looks_whole(finished, tmp_path, monkeypatch, format_):
    from oltr_cli.inference.recogniser import Recogniser

    real, calls = Recogniser.scores, []

    def fail_later(self, images):
        calls.append(len(images))
        if len(calls) > 2:
            raise OltrError("a decoding process was killed")
        return real(self, images)

    monkeypatch.setattr(Recogniser, "scores", fail_later)
    out = ["--out", tmp_path / "package"] if format_ == "camtrap-dp" else []
    done = predict(finished.names["plain"], *finished.files("test"), "-f", format_, "--batch-size", 2, *out)
    assert isinstance(done.exception, OltrError)
    assert list(tmp_path.iterdir()) == []
    if format_ != "camtrap-dp":
        assert finished.files("test")[0] in done.stdout
        with pytest.raises(json.JSONDecodeError):
            json.loads(done.stdout)


def test_the_table_has_a_line_an_image_whatever_is_in_a_name(finished, tmp_path):
    folder = broken_folder(finished, tmp_path)
    done = predict(finished.names["plain"], folder, "--threshold", "2")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["label", "confidence", "image"]
    assert len(lines) == 3
    place = header.index("image")
    assert [line[place:] for line in lines] == [
        f"{folder}/1.png",
        f"{folder}/2.png: cannot be decoded (not an image)",
        f'{folder}/ü, "3"\\n.png',
    ]
    assert lines[0].startswith("unknown (thing")
    assert lines[1].startswith("error")
    assert "3 images: 0 known, 2 unknown, 1 failed" in done.stderr
    assert "next" in done.stderr


def test_lists_patterns_and_duplicates_keep_their_order(finished, tmp_path):
    a, b = finished.files("open")[:2]
    folder = str(Path(a).parent)
    rows = answer(finished.names["plain"], b, "-", f"{folder}/*.png", stdin=f"{a}\n{b}\n")["images"]
    assert [row["image"] for row in rows] == [b, a, b, *sorted(str(p) for p in Path(folder).glob("*.png"))]
    assert rows[0] == rows[2]
    nul = answer(finished.names["plain"], "-", "--null", stdin=f"{a}\0{b}\0")["images"]
    assert [row["image"] for row in nul] == [a, b]


def test_an_empty_list_is_said_and_no_failure(finished):
    done = predict(finished.names["plain"], "-", "--json", stdin="")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["images"] == []
    assert "empty" in done.stderr


def test_explanations_name_classes_and_only_where_there_are_any(finished):
    files = finished.files("test")
    for method in ("dme", "dme+energy"):
        for row in answer(finished.names[method], *files, "--explain")["images"]:
            distances = [one["distance"] for one in row["nearest"]]
            assert distances == sorted(distances)
            assert row["reachability"] == distances[0]
            assert len(row["infused"]) == 3
    done = predict(finished.names["plain"], files[0], "--explain")
    assert isinstance(done.exception, UsageProblem)
    assert "plain has no centroids" in str(done.exception)
    assert done.stdout == ""
    shown = predict(finished.names["dme"], files[0], "--explain").stdout
    assert "reachability" in shown
    assert "memory infused" in shown


def test_the_contact_sheet_shows_the_first_hundred(finished, tmp_path):
    sheet = tmp_path / "new folder" / "sheet [1].png"
    folder = finished.images / "train"
    nowhere = tmp_path / "nowhere.png"
    done = predict(finished.names["plain"], nowhere, folder, folder, folder, "--contact-sheet", sheet, "-q")
    assert isinstance(done.exception, OltrError)  # of the file that is not there
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        high = image.height
    done = predict(finished.names["plain"], folder, folder, folder, "--contact-sheet", sheet)
    assert f"{sheet}, the first 100 of 135 images" in done.stderr.replace("\n", "")
    few = tmp_path / "few.jpg"
    assert predict(finished.names["plain"], finished.files("test")[0], "--contact-sheet", few).exit_code == 0
    with Image.open(few) as image:
        assert image.format == "JPEG"
        assert image.height < high


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--format", "xml"], "no format 'xml'"),
        (["--format", "csv", "--json"], "one of them"),
        (["--null"], "stdin"),
        (["-", "-"], "twice"),
        (["--contact-sheet", "sheet.txt"], "give an image file"),
        (["--threshold", "sometimes"], "sometimes"),
        (["--device", "tpu"], "tpu"),
        (["--format", "camtrap-dp"], "name it: --out FOLDER"),
        (["--format", "camtrap-dp", "--out", "x", "-k", "2"], "leave out --top-k"),
        (["--format", "camtrap-dp", "--out", "x", "--utc-offset", "CET"], "CET: not an offset"),
        (["--format", "camtrap-dp", "--out", "."], "--out .: exists"),
        (["--format", "coco", "--explain"], "no place for --explain"),
        (["--format", "coco", "--out", "x"], "are for --format camtrap-dp"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(finished, arguments, word):
    arguments = ["predict", finished.names["plain"], "x.png", "--workers", "0", *arguments]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, UsageProblem)
    assert word in str(done.exception)
    assert done.stdout == ""


def test_a_run_that_is_not_there_or_not_whole_is_named(finished, tmp_path, monkeypatch):
    assert isinstance(predict("nothing/such", "x.png").exception, UsageProblem)
    assert isinstance(predict("tiny", "x.png").exception, UsageProblem)  # fits several
    monkeypatch.setattr(SavedScores, "load", lambda path: (_ for _ in ()).throw(DataProblem(f"{path}: gone")))
    assert isinstance(predict(finished.names["plain+openmax"], "x.png").exception, DataProblem)


def test_a_confidence_that_is_not_finite_is_an_error_row(finished, monkeypatch):
    from oltr_cli.inference.recogniser import Recogniser

    real = Recogniser.scores

    def half_broken(self, images):
        scores = real(self, images)
        scores.confidence[0] = np.nan
        return scores

    monkeypatch.setattr(Recogniser, "scores", half_broken)
    done = predict(finished.names["plain"], *finished.files("test")[:2], "--json")
    assert [row["error"] for row in json.loads(done.stdout)["images"]] == ["its confidence is nan", None]


def test_names_that_are_no_utf8_leave_as_they_are(finished, tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        Path(os.fsdecode(raw)).write_bytes(Path(finished.files("test")[0]).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    name = finished.names["plain"]
    assert os.fsencode(json.loads(predict(name, tmp_path, "--format", "jsonl").stdout_bytes)["image"]) == raw
    assert raw in predict(name, tmp_path, "--format", "csv").stdout_bytes
    assert b"\\udcff.png" in predict(name, tmp_path).stdout_bytes


def recogniser(names):
    run = SimpleNamespace(name="d/m/h-s0")
    facts = {"rule": "given", "value": 0.5}
    return SimpleNamespace(class_names=names, run=run, rule="given", threshold=0.5, threshold_facts=facts)


def test_the_table_stays_aligned_with_wide_and_long_names():
    table = FORMATS["table"](recogniser(["金魚", "x" * 60]), 1, False)
    rows = [Verdict("p.png", label="金魚", confidence=0.5, top=[("金魚", 0.5)])]
    rows += [Verdict("p.png", label="x" * 60, confidence=1e-7, top=[("x" * 60, 1.0)])]
    rows += [Verdict("p.png", label="unknown", unknown=True, confidence=-3, top=[("金魚", 0.5)])]
    from rich.cells import cell_len

    lines = [text for text, _ in [*table.start(), *table.rows(rows)]]
    assert len({cell_len(line.removesuffix("p.png").removesuffix("image")) for line in lines}) == 1
    assert "…" in lines[2]
    assert "1.00e-07" in lines[2]
    assert "unknown (金魚?)" in lines[3]


def test_a_stopped_object_is_whole_and_says_so():
    whole = Whole(recogniser(["a"]), 1, False)
    totals = Totals()
    rows = [Verdict("p", "bad"), Verdict("q", label="a", confidence=0.25, top=[("a", 0.25)])]
    totals.add(rows)
    lines = [*whole.start(), *whole.rows(rows[:1]), *whole.rows(rows[1:]), *whole.end(totals, False)]
    told = json.loads("\n".join(text for text, _ in lines))
    assert told["complete"] is False
    assert told["counts"] == {"images": 2, "known": 1, "unknown": 0, "failed": 1}
    assert len(told["images"]) == 2
    empty = Whole(recogniser(["a"]), 1, False)
    assert json.loads("".join(text for text, _ in [*empty.start(), *empty.end(Totals(), True)]))["images"] == []


def test_a_method_without_memory_leaves_its_cells_empty():
    table = FORMATS["csv"](recogniser(["a", "b"]), 1, True)
    why = Reasons(1.5, [("a", 1.5), ("b", 2.0)], None)
    row = Verdict("p", label="a", confidence=0.5, top=[("a", 0.5)], reasons=why)
    lines = [text for text, _ in [*table.start(), *table.rows([row, Verdict("q", "bad")])]]
    header, first, second = csv.reader(lines)
    assert len(header) == len(first) == len(second)
    assert dict(zip(header, first, strict=True))["infused_1"] == ""
    assert dict(zip(header, first, strict=True))["distance_2"] == "2.0"


def test_numbers_are_the_float32_and_no_longer_than_needed():
    for value in np.float32([0.1, 1 / 3, 1e-20, 12345.678, 0]):
        assert np.float32(shortest(value)) == value
    assert shortest(np.float32(0.1)) == 0.1
    assert [number(x) for x in (0.0, 0.12345, 12.5, 0.0001, -3.0)] == ["0.000", "0.123", "12.500", "1.00e-04", "-3.000"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_json_object(finished, number):
    command = [sys.executable, "-m", "oltr_cli", "predict", finished.names["plain"], "-", "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--workers", "1"], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    process.stdin.write(f"{finished.files('test')[0]}\n")
    process.stdin.flush()
    told = process.stdout.readline() + process.stdout.readline()
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    rest, said = process.communicate()
    content = json.loads(told + rest)
    assert (len(content["images"]), content["complete"]) == (1, False)
    assert said.endswith("stopped after 1 image\n")


def test_rows_come_while_the_list_is_still_open_and_ctrl_c_lets_them_stand(finished):
    command = [sys.executable, "-m", "oltr_cli", "predict", finished.names["plain"], "-", "--format", "jsonl"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--workers", "1"],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
    for file in finished.files("test")[:2]:
        process.stdin.write(f"{file}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["image"] == file
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    assert process.wait(timeout=60) == 130  # while the list is still open
    rest, said = process.communicate()
    assert rest == ""
    assert said.endswith("stopped after 2 images\n")


def test_a_reader_that_leaves_is_no_error(finished, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(typer.Exit) as left:
            predict_command(finished.names["plain"], finished.files("test"), top_k=1, workers=0, batch_size=64)
    assert left.value.exit_code == 141
    assert "rror" not in capfd.readouterr().err


def stream_for_ever(file, told):
    with ImageStream((Source(file) for _ in iter(int, 1)), DataSpec(name="any"), 1, 2) as stream:
        for _ in stream:
            told.put([process.pid for process in multiprocessing.active_children()])


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_kill_leaves_no_worker_behind(finished):
    fork = multiprocessing.get_context("fork")
    told = fork.SimpleQueue()
    parent = fork.Process(target=stream_for_ever, args=(finished.files("test")[0], told))
    parent.start()
    workers = told.get()
    parent.kill()
    parent.join()
    assert len(workers) == 2
    for _ in range(200):
        # Nobody may be there to collect a process whose parent is gone: a zombie has ended as well.
        if all(state(worker) in "Z-" for worker in workers):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlived its parent")


def state(process):
    """R, S, Z … as /proc has it; - when it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "-"


def test_csv_lines_guard_text_that_a_spreadsheet_would_run():
    assert csv_line(["=cmd|' /C calc'!A0", -0.5, "-x.jpg", "owl"])[0] == "'=cmd|' /C calc'!A0,-0.5,'-x.jpg,owl"
