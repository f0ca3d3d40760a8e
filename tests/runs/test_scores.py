"""Saved scores: what is written comes back, and what does not fit or cannot be trusted is refused by name."""

import zipfile

import numpy as np
import pytest

from oltr_cli.errors import DataProblem
from oltr_cli.runs import scores as scores_module
from oltr_cli.runs.scores import SavedScores, are_probabilities, max_softmax, read_npz


def example(number: int = 5, num_classes: int = 3) -> SavedScores:
    logits = np.random.default_rng(0).normal(size=(number, num_classes)).astype(np.float32)
    prediction, confidence = max_softmax(logits)
    labels = np.arange(number) % (num_classes + 1) - 1
    paths = np.array([f"ordner/bild {i} ä.png" for i in range(number)])
    return SavedScores(prediction, confidence, labels, logits, logits[:, :2].copy(), paths)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_max_softmax_equals_a_loop_in_float64(dtype):
    logits = (np.random.default_rng(1).normal(size=(50, 7)) * 20 - 30).astype(dtype)  # all kinds of negative ones
    prediction, confidence = max_softmax(logits)
    for i, row in enumerate(logits.astype(np.float64).tolist()):
        exponentials = [np.exp(value - max(row)) for value in row]
        assert prediction[i] == row.index(max(row))
        assert confidence[i] == pytest.approx(1 / sum(exponentials), rel=1e-6)


def test_max_softmax_of_float64_logits_far_from_zero_is_that_of_their_differences():
    differences = np.random.default_rng(3).integers(-40, 41, size=(60, 5)) / 8  # exact beside 1e8 in float64
    near, far = max_softmax(differences), max_softmax(differences - 1e8)
    np.testing.assert_array_equal(near[0], far[0])
    np.testing.assert_array_equal(near[1], far[1])


def test_max_softmax_does_not_depend_on_its_blocks():
    logits = np.random.default_rng(2).normal(size=(8192 * 2 + 3, 4)).astype(np.float32)
    prediction, confidence = max_softmax(logits)
    for rows in (slice(8190, 8195), slice(16384, None)):
        alone = max_softmax(logits[rows])
        np.testing.assert_array_equal(prediction[rows], alone[0])
        np.testing.assert_array_equal(confidence[rows], alone[1])


def test_max_softmax_of_one_class_and_of_no_samples():
    assert max_softmax(np.full((2, 1), -50.0))[1].tolist() == [1.0, 1.0]
    assert len(max_softmax(np.empty((0, 3)))[0]) == 0


def test_scores_come_back_as_they_were_saved(tmp_path):
    saved = example()
    saved.save(tmp_path / "scores" / "test.npz")
    loaded = SavedScores.load(tmp_path / "scores" / "test.npz")
    assert len(loaded) == 5
    for name in ("prediction", "confidence", "labels", "logits", "features", "paths"):
        ours, theirs = getattr(saved, name), getattr(loaded, name)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["test.npz"]


def test_large_logits_shrink_but_prediction_and_confidence_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(scores_module, "LARGE_LOGITS", 15)
    saved = example()
    saved.save(tmp_path / "test.npz")
    loaded = SavedScores.load(tmp_path / "test.npz")
    assert loaded.logits.dtype == np.float16
    assert loaded.features.dtype == np.float32
    np.testing.assert_array_equal(loaded.confidence, saved.confidence)
    np.testing.assert_allclose(loaded.logits, saved.logits, rtol=2e-3, atol=1e-4)


def test_logits_alone_are_enough(tmp_path):
    saved = example()
    np.savez(tmp_path / "scores.npz", labels=saved.labels.astype(np.int16), logits=saved.logits)
    loaded = SavedScores.load(tmp_path / "scores.npz")
    np.testing.assert_array_equal(loaded.prediction, saved.prediction)
    np.testing.assert_array_equal(loaded.confidence, saved.confidence)
    assert loaded.labels.dtype == np.int64


def test_confidences_keep_their_precision_when_they_are_read(tmp_path):
    labels = np.zeros(3, np.int64)
    for dtype, expected in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        confidence = np.array([0.1, 0.5, 0.3], dtype) - (1e8 if dtype == np.float64 else 0)
        np.savez(tmp_path / "test.npz", labels=labels, prediction=labels, confidence=confidence)
        loaded = SavedScores.load(tmp_path / "test.npz").confidence
        assert loaded.dtype == expected
        np.testing.assert_array_equal(loaded, confidence)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_no_softmax_is_taken_of_probabilities(tmp_path, dtype):
    logits = np.random.default_rng(4).normal(size=(500, 100)) * 3
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(dtype)
    labels = np.zeros(500, np.int64)
    np.savez(tmp_path / "test.npz", labels=labels, logits=probabilities)
    with pytest.raises(DataProblem, match=r"test\.npz: 'logits' are probabilities.*save their logarithm"):
        SavedScores.load(tmp_path / "test.npz")
    prediction, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    np.savez(tmp_path / "test.npz", labels=labels, logits=probabilities, prediction=prediction, confidence=confidence)
    np.testing.assert_array_equal(SavedScores.load(tmp_path / "test.npz").confidence, confidence)
    np.savez(tmp_path / "test.npz", labels=labels, logits=np.log(probabilities.astype(np.float64)))
    assert SavedScores.load(tmp_path / "test.npz").confidence == pytest.approx(confidence.astype(float), abs=2e-3)


def test_what_are_no_probabilities():
    third = np.full((4, 3), 1 / 3)
    assert are_probabilities(third)
    assert are_probabilities(np.eye(3))
    assert not are_probabilities(third[:1])  # one row may sum to 1 by chance
    assert not are_probabilities(np.ones((4, 1)))
    assert not are_probabilities(third + 0.1)
    assert not are_probabilities(np.array([[0.5, 0.5], [1.5, -0.5]]))
    assert not are_probabilities(np.vstack([np.tile(third, (100, 1)), [[1.0, 2.0, 3.0]]]))


def test_own_confidence_is_kept_beside_logits(tmp_path):
    saved = example()
    np.savez(tmp_path / "s.npz", labels=saved.labels, logits=saved.logits, confidence=np.full(5, 0.25))
    loaded = SavedScores.load(tmp_path / "s.npz")
    assert loaded.confidence.tolist() == [0.25] * 5
    np.testing.assert_array_equal(loaded.prediction, saved.prediction)


def test_pickled_objects_are_never_loaded(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    path = tmp_path / "bad.npz"
    np.savez(path, labels=np.array([Hostile()], dtype=object), allow_pickle=True)
    with pytest.raises(DataProblem, match="without pickle"):
        SavedScores.load(path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused_by_name(tmp_path, share):
    path = tmp_path / "test.npz"
    example(200).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataProblem, match=r"test\.npz: cannot be read"):
        SavedScores.load(path)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "test.npz"
    example(200).save(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 400] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataProblem, match="cannot be read"):
        SavedScores.load(path)


def test_what_is_no_npz_is_refused(tmp_path):
    with pytest.raises(DataProblem, match="no such file"):
        read_npz(tmp_path / "none.npz")
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(DataProblem, match=r"single \.npy array"):
        read_npz(tmp_path / "array.npy")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataProblem, match="cannot be read"):
        read_npz(tmp_path / "text.npz")
    with pytest.raises(DataProblem, match="cannot be read"):
        read_npz(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": None}, "no array 'labels'"),
        ({"prediction": None}, "needs 'prediction' and 'confidence', or 'logits'"),
        ({"confidence": None}, "needs 'prediction' and 'confidence', or 'logits'"),
        ({"labels": np.zeros(5)}, "'labels' must be integers"),
        ({"labels": np.zeros((5, 1), int)}, "'labels' must be integers"),
        ({"prediction": np.zeros(5)}, "'prediction' must be integers"),
        ({"prediction": np.zeros(4, int)}, "differ in length"),
        ({"labels": np.array([0, 1, 2, -2, 0])}, "label -2 is below"),
        ({"confidence": np.array([0.1, np.nan, 0.2, 0.3, np.nan])}, "contains 2 NaN"),
        ({"confidence": np.zeros(5, int)}, "'confidence' must be floating"),
        ({"logits": np.zeros((5, 2), int)}, "'logits' must be floating"),
        ({"logits": np.zeros(5)}, "'logits' must be floating"),
        ({"logits": np.zeros((4, 2))}, "differ in length"),
        ({"paths": np.array("one")}, "differ in length"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, change, says):
    arrays = {"labels": np.zeros(5, int), "prediction": np.zeros(5, int), "confidence": np.full(5, 0.5)} | change
    path = tmp_path / "mine.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataProblem) as caught:
        SavedScores.load(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_broken_bytes_anywhere_are_one_kind_of_error(tmp_path, save):
    """Headers, lengths, flags and compressed data, each damaged at random: refused by name, or harmless."""
    path = tmp_path / "test.npz"
    saved = example(50)
    save(path, labels=saved.labels, logits=saved.logits)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = []
    for _ in range(300):
        broken = bytearray(content)
        broken[rng.integers(len(broken))] = rng.integers(256)
        path.write_bytes(bytes(broken))
        try:
            SavedScores.load(path)
        except DataProblem as problem:
            refused.append(str(problem))
    assert len(refused) > 150
    assert all(str(path) in message for message in refused)


def test_members_that_are_no_arrays_are_left_out(tmp_path):
    path = tmp_path / "test.npz"
    example().save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    assert len(SavedScores.load(path)) == 5
    assert "readme.txt" not in read_npz(path)
