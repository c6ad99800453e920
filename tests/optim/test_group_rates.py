import io
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import Optimizer

from tunecli.data.load import Split
from tunecli.errors import InvalidValueError
from tunecli.optim import QHM
from tunecli.optim.stagewise import StagewiseScheduler
from tunecli.schedule import Schedule, Stage
from tunecli.training.centralized import CentralizedTraining

SCHEDULE = Schedule(
    (
        Stage(0.4, momentum=0.8, discount=0.5, batch_size=4, steps=2),
        Stage(0.2, momentum=0.9, discount=0.5, batch_size=2, steps=2),
    )
)


def optimizer_of(*groups: dict[str, Any], rate: float) -> QHM:
    return QHM([{"params": [nn.Parameter(torch.ones(1))], **group} for group in groups], rate)


def rates(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize(
    ("groups", "rate", "shares"),
    [
        ([{"lr": 0.04}, {}], 0.4, [0.1, 1]),
        ([{"lr": 0.04}, {"lr": 0.4}], 9.0, [0.1, 1]),
        ([{"lr": 0.4}, {"lr": 0.8}], 9.0, [1, 2]),
        ([{}, {"lr": 0.8}], 0.4, [1, 2]),
        ([{"lr": 0.04}, {"lr": 0.8}], 0.4, [0.1, 2]),
        ([{"lr": 0.04}], 0.4, [0.1]),
        ([{"lr": 0.0}, {}], 0.4, [0, 1]),
        ([{}, {}], 0.4, [1, 1]),
        ([{}, {}], 7.0, [1, 1]),
        ([{}, {}], 0.0, [1, 1]),
        ([{"lr_scale": 0.25}, {}], 7.0, [0.25, 1]),
        ([{"lr": 0.04, "lr_scale": 0.5}, {"lr": 0.04}, {}], 0.4, [0.5, 0.1, 1]),
        ([{"lr": 100.0, "lr_scale": 0.5}, {"lr": 7.0}], 9.0, [0.5, 1]),
        ([{"lr_scale": 0.5}, {"lr_scale": 2.0}], 7.0, [0.5, 2]),
    ],
)
@pytest.mark.parametrize("automatic", [True, False])
def test_rate_of_a_group_is_alpha_times_its_share(
    groups: list[dict[str, Any]], rate: float, shares: list[float], automatic: bool
) -> None:
    optimizer = optimizer_of(*groups, rate=rate)
    scheduler = StagewiseScheduler(optimizer, SCHEDULE, automatic=automatic)
    for step in range(SCHEDULE.total_steps):
        alpha = SCHEDULE.stage_at(step).learning_rate
        assert rates(optimizer) == pytest.approx([alpha * share for share in shares], rel=1e-12)
        optimizer.step()
        if not automatic:
            scheduler.step()


def test_schedule_wins_over_other_rates_with_a_warning_at_the_line() -> None:
    optimizer = optimizer_of({"lr": 1e-5}, {"lr": 1e-4}, rate=1e-3)
    with pytest.warns(UserWarning, match=r"1e-05, 0\.0001, .* largest becomes 0\.4") as caught:
        StagewiseScheduler(optimizer, SCHEDULE)
    assert caught[0].filename == __file__
    assert rates(optimizer) == pytest.approx([0.04, 0.4])


def test_proportion_is_the_one_of_tuneclis_own_training() -> None:
    def make(parameters: list[nn.Parameter], rate: float) -> QHM:
        weight, bias = parameters
        groups = [{"params": [weight], "lr": rate / 10}, {"params": [bias], "lr": 2 * rate}]
        return QHM(groups, rate)

    data = Split(torch.ones(8, 1), torch.zeros(8, dtype=torch.int64))
    device = torch.device("cpu")
    training = CentralizedTraining(
        nn.Linear(1, 2), data, SCHEDULE, seed=0, device=device, make_optimizer=make
    )
    optimizer = make(list(nn.Linear(1, 2).parameters()), 0.4)
    StagewiseScheduler(optimizer, SCHEDULE, automatic=True)
    for _ in range(SCHEDULE.total_steps):
        training.step()
        assert rates(optimizer) == pytest.approx(rates(training.optimizer), rel=1e-12)
        optimizer.step()


def test_rate_that_is_a_rounded_tensor_is_alpha_itself() -> None:
    groups: list[dict[str, Any]] = [
        {"params": [nn.Parameter(torch.ones(1))], "lr": torch.tensor(0.4)},
        {"params": [nn.Parameter(torch.ones(1))], "lr": torch.tensor(0.04)},
    ]
    with pytest.warns(UserWarning, match="only the learning rate"):
        scheduler = StagewiseScheduler(torch.optim.SGD(groups), SCHEDULE)
    first, second = scheduler.get_lr()
    assert first == 0.4
    assert math.isclose(second, 0.04, rel_tol=1e-6)


@pytest.mark.parametrize("order", ["optimizer", "scheduler", "before it is built"])
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("made_with", [0.4, 0.04, 55.0])
def test_resumed_groups_keep_their_proportion(order: str, steps: int, made_with: float) -> None:
    def build(rate: float, first: dict[str, float]) -> QHM:
        return optimizer_of(first, {}, rate=rate)

    optimizer = build(0.4, {"lr": 0.04})
    scheduler = StagewiseScheduler(optimizer, SCHEDULE, automatic=True)
    for _ in range(steps):
        optimizer.step()
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    of_optimizer, of_scheduler = torch.load(file, weights_only=True)

    resumed = build(made_with, {"lr": 0.04} if made_with == 0.4 else {})
    if order == "before it is built":
        resumed.load_state_dict(of_optimizer)
    other = StagewiseScheduler(resumed, SCHEDULE, automatic=True)
    if order == "optimizer":
        resumed.load_state_dict(of_optimizer)
    other.load_state_dict(of_scheduler)
    if order == "scheduler":
        resumed.load_state_dict(of_optimizer)
    for _ in range(SCHEDULE.total_steps - steps):
        assert rates(resumed) == rates(optimizer)
        optimizer.step()
        resumed.step()


def test_second_schedule_begins_where_the_optimizer_was_made() -> None:
    optimizer = optimizer_of({"lr": 0.04}, {}, rate=0.4)
    first = StagewiseScheduler(optimizer, SCHEDULE)
    for _ in range(SCHEDULE.total_steps):
        optimizer.step()
        first.step()
    StagewiseScheduler(optimizer, SCHEDULE)
    assert rates(optimizer) == pytest.approx([0.04, 0.4])


def test_group_that_is_added_later_has_its_share() -> None:
    optimizer = optimizer_of({}, rate=0.4)
    StagewiseScheduler(optimizer, SCHEDULE, automatic=True)
    optimizer.step()
    for group in ({"lr": 0.04}, {}, {"lr_scale": 0.5}):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], **group})
    optimizer.step()
    assert rates(optimizer) == pytest.approx([0.2, 0.02, 0.2, 0.1])


def test_state_without_shares_is_refused() -> None:
    scheduler = StagewiseScheduler(optimizer_of({}, rate=0.4), SCHEDULE)
    state = scheduler.state_dict()
    del state["shares"]
    with pytest.raises(InvalidValueError, match=r"state_dict must have .*shares.* but got"):
        scheduler.load_state_dict(state)
