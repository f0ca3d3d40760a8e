"""What a dry run says of times that are not known."""

import pytest

from oltr_cli.commands.costs import NO_RATE, SOME_RATES, _sources
from oltr_cli.pipeline.estimates import Costs
from oltr_cli.planning.sizes import Estimate, Rate
from oltr_cli.runs.folder import Run

KNOWN = Rate(10.0, 30.0, "measured by tiny/plain")


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([KNOWN, KNOWN], ["time: measured by tiny/plain"]),
        ([KNOWN, None], ["time: measured by tiny/plain", SOME_RATES]),
        ([None, None], [NO_RATE]),
    ],
)
def test_it_says_whether_all_times_are_missing_or_some(tmp_path, rates, said):
    runs = [Run(tmp_path, "tiny", name, "0123456789", 0) for name in ("plain", "dme")]
    estimates = [Estimate(run, "new", steps=1, images=8, feed="images", scored=3) for run in runs]
    assert _sources(Costs(estimates, rates, free=1)) == said
