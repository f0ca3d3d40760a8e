"""Learning rates step by step: milestones, the warm-up over every schedule, and resuming anywhere."""

import math

import pytest
import torch
from torch import nn

from oltr_cli.recipe.train import TrainSpec
from oltr_cli.training.schedule import WarmUp, build_scheduler

STEPS = 5  # in an epoch
SCHEDULES = {
    "step": {"step_size": 2, "gamma": 0.1},
    "multistep": {"milestones": [3, 6], "gamma": 0.01},
    "cosine": {},
    "onecycle": {},
}


def spec(schedule, **changes):
    return TrainSpec(epochs=8, schedule=schedule, **{**SCHEDULES[schedule], **changes})


def start(train):
    groups = [
        {"params": [nn.Parameter(torch.ones(1))], "lr": rate, "name": part}
        for part, rate in (("features", 0.1), ("classifier", 0.4))
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    return optimizer, build_scheduler(optimizer, train, STEPS)


def advance(optimizer, scheduler, steps):
    """The rates of both parts in each of the next steps."""
    taken = []
    for _ in range(steps):
        taken.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return taken


def rates(train):
    return advance(*start(train), train.epochs * STEPS)


def test_the_rate_falls_after_the_milestones():
    taken = rates(spec("multistep"))
    wanted = [0.1] * 15 + [0.1 * 0.01] * 15 + [0.1 * 0.01**2] * 10
    assert [first for first, _ in taken] == pytest.approx(wanted)
    assert [second for _, second in taken] == pytest.approx([4 * rate for rate in wanted])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warm_up_scales_the_first_rates_of_any_schedule(schedule):
    plain, warm = rates(spec(schedule)), rates(spec(schedule, warmup_epochs=2))
    factors = [min(1, (step + 1) / 10) for step in range(8 * STEPS)]
    for factor, before, after in zip(factors, plain, warm, strict=True):
        assert after == pytest.approx([factor * rate for rate in before], rel=1e-12)
    assert warm[10:] == plain[10:]  # to the last bit


def test_the_papers_schedule():
    """LDAM's: 0.1, up in 5 epochs, times 0.01 at 160 and again at 180."""
    taken = rates(TrainSpec(epochs=200, schedule="multistep", milestones=[160, 180], gamma=0.01, warmup_epochs=5))
    at = {epoch: taken[epoch * STEPS][0] for epoch in (0, 4, 5, 159, 160, 179, 180, 199)}
    rising = {0: 0.1 / 25, 4: 0.1 * 21 / 25}
    assert at == pytest.approx({**rising, 5: 0.1, 159: 0.1, 160: 1e-3, 179: 1e-3, 180: 1e-5, 199: 1e-5})


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("before", [0, 1, 7, 10, 23])
def test_a_schedule_resumes_in_the_same_bits(schedule, before):
    train = spec(schedule, warmup_epochs=2)
    whole = rates(train)
    optimizer, scheduler = start(train)
    advance(optimizer, scheduler, before)
    kept = optimizer.state_dict(), scheduler.state_dict()
    again, fresh = start(train)
    again.load_state_dict(kept[0])
    fresh.load_state_dict(kept[1])
    assert advance(again, fresh, 8 * STEPS - before) == whole[before:]


def test_without_a_warm_up_the_schedule_is_torchs_own():
    assert not isinstance(start(spec("cosine"))[1], WarmUp)
    assert rates(spec("cosine"))[20][0] == pytest.approx(0.05 * (1 + math.cos(math.pi * 20 / 40)))
