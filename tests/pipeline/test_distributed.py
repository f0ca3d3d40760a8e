"""Two processes share each batch: one run, one result, one voice."""

import json
import subprocess
import sys

import pytest
import torch


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch was built without distributed support")
def test_two_processes_make_one_run(oltr, tiny_recipe):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "oltr_cli", "run", "dme", "--recipe", str(tiny_recipe), "--json"]
    done = subprocess.run([*launch, *command], env=oltr.env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)  # one object: the second process keeps silent
    assert result["status"] == "done"
    assert done.stderr.count("starting torch") == 1
    environment = json.loads((oltr.runs / result["run"] / "environment.json").read_text())
    assert environment["processes"] == 2
    again = oltr("run", "dme", "--recipe", tiny_recipe, "--json")  # finished for a single process as well
    assert json.loads(again.stdout) == result


def test_shares_are_neighbours_and_cover_the_batch():
    from oltr_cli.data.feed.loading import rank_share

    for size in (1, 7, 8, 128):
        for world in (1, 2, 3, 4):
            rows = [list(range(size))[rank_share(size, rank, world)] for rank in range(world)]
            assert [row for share in rows for row in share] == list(range(size))
