"""Two kills of the campaign. The long one: ``python -m tests.fuzz.kills --kills 60``."""

from tests.fuzz.kills import kills


def test_a_killed_run_ends_in_the_same_bits_and_is_complete(tmp_path):
    said = list(kills(tmp_path, 2, seed=3))
    assert len(said) == 2
    assert not [line for line in said if ": " in line], "\n".join(said)
