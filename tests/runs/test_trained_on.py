"""The keys of training images: what was saved, or the file is called damaged."""

import numpy as np
import pytest

from oltr_cli.errors import DataProblem
from oltr_cli.runs.trained_on import FILE, keys_of, save_trained_on, trained_on


def test_what_was_saved_is_read(tmp_path):
    assert trained_on(tmp_path) is None
    keys = keys_of(["/a/1.png", "/a/0.png", "/a/1.png"])
    save_trained_on(tmp_path, keys)
    np.testing.assert_array_equal(trained_on(tmp_path), np.unique(keys))


def test_no_flipped_bit_is_used(tmp_path):
    save_trained_on(tmp_path, keys_of([f"/a/{number}.png" for number in range(9)]))
    saved, content = trained_on(tmp_path), (tmp_path / FILE).read_bytes()
    refused = 0
    for place in range(len(content)):
        (tmp_path / FILE).write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            np.testing.assert_array_equal(trained_on(tmp_path), saved)
        except DataProblem:
            refused += 1
    assert refused > 9 * 8
    (tmp_path / FILE).write_bytes(b"?")
    with pytest.raises(DataProblem, match=r"trained_on\.npz: is damaged"):
        trained_on(tmp_path)
