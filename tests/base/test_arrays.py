"""A damaged .npy file is an OSError or a ValueError, whatever numpy's header reader raises."""

import warnings

import numpy as np
import pytest

from oltr_cli.base.arrays import load_npy


@pytest.mark.parametrize("mode", [None, "r"])
def test_no_flipped_bit_raises_anything_else(tmp_path, mode):
    file = tmp_path / "x.npy"
    np.save(file, np.arange(4))
    content = file.read_bytes()
    refused = 0
    for place in range(len(content) - 32):  # the header
        for bit in range(8):
            file.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    load_npy(file, mode)
                except (OSError, ValueError):
                    refused += 1
    assert refused > 500
