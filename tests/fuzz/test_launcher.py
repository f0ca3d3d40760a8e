"""One kill of the campaign. The long one: ``python -m tests.fuzz.launcher --kills 40``."""

import pytest

from tests.fuzz.launcher import kills


@pytest.mark.timeout(900)
def test_a_table_is_complete_and_the_same_after_kills(tmp_path):
    said = list(kills(tmp_path, 1, seed=2, rows=("plain", "plain+energy")))
    assert len([line for line in said if " to " in line]) == 1
    assert not [line for line in said if ": " in line], "\n".join(said)
