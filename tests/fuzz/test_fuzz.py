"""A short round of the fuzzer. The long one: ``python -m tests.fuzz --rounds 2000 --seed 1``."""

from tests.fuzz.rounds import campaign, flips


def test_hostile_commands_and_damaged_files_end_in_one_line(tmp_path):
    faults = list(campaign(tmp_path / "home", rounds=60, seed=7))
    assert not faults, "\n\n".join(map(str, faults))


def test_flipped_bits_are_never_used(tmp_path):
    faults = list(flips(tmp_path / "home", rounds=15, seed=7))
    assert not faults, "\n\n".join(map(str, faults))
