import copy
import gc
import io
import warnings
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from tunecli.errors import InvalidValueError
from tunecli.optim import QHM
from tunecli.optim.stagewise import StagewiseScheduler
from tunecli.schedule import Schedule, Stage, multistage_schedule

THREE_STAGES = Schedule(
    (
        Stage(0.4, momentum=0.8, discount=0.5, batch_size=8, steps=3),
        Stage(0.2, momentum=0.9, discount=0.25, batch_size=4, steps=1),
        Stage(0.1, momentum=0.95, discount=1.0, batch_size=2, steps=4),
    )
)


def weight(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value], dtype=torch.float64))


def update(optimizer: Optimizer, scheduler: LRScheduler) -> None:
    optimizer.zero_grad()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.stack([(p**2).sum() for p in parameters]).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    scheduler.step()


def settings(optimizer: Optimizer) -> tuple[Any, ...]:
    (group,) = optimizer.param_groups
    return group["lr"], group["momentum"], group["discount"]


def of(stage: Stage) -> tuple[float, float, float]:
    return stage.learning_rate, stage.momentum, stage.discount


def test_every_update_is_made_with_its_stages_three_values() -> None:
    optimizer = QHM([weight()], 7.0, momentum=0.1, discount=0.9)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    for step in range(THREE_STAGES.total_steps):
        assert settings(optimizer) == of(THREE_STAGES.stage_at(step))
        assert scheduler.get_last_lr() == [THREE_STAGES.stage_at(step).learning_rate]
        update(optimizer, scheduler)
    assert scheduler.last_epoch == THREE_STAGES.total_steps


def test_the_trajectory_is_algorithm_1() -> None:
    """The paper's loop by hand: d ← (1 − β) g + β d, θ ← θ − α [(1 − ν) g + ν d]."""
    parameter = weight()
    optimizer = QHM([parameter], 7.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    theta, d = 1.0, 0.0
    for step in range(THREE_STAGES.total_steps):
        update(optimizer, scheduler)
        a, b, v = of(THREE_STAGES.stage_at(step))
        g = 2 * theta
        d = (1 - b) * g + b * d
        theta -= a * ((1 - v) * g + v * d)
        assert parameter.item() == pytest.approx(theta, rel=1e-12)


def test_last_stage_stays_past_the_end_and_the_first_update_too_many_warns() -> None:
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    for _ in range(THREE_STAGES.total_steps):
        update(optimizer, scheduler)
    assert settings(optimizer) == of(THREE_STAGES.stages[-1])
    with pytest.warns(UserWarning, match=r"schedule has 8 updates .* no loop over epochs"):
        update(optimizer, scheduler)
    for _ in range(5):  # warnings are errors: it is said once
        update(optimizer, scheduler)
    assert settings(optimizer) == of(THREE_STAGES.stages[-1])


def test_group_has_its_own_scale_of_the_rate() -> None:
    groups: list[dict[str, Any]] = [
        {"params": [weight()]},
        {"params": [weight()], "lr_scale": 0.25},
    ]
    optimizer = QHM(groups, 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    for step in range(THREE_STAGES.total_steps):
        rate = THREE_STAGES.stage_at(step).learning_rate
        assert [group["lr"] for group in optimizer.param_groups] == [rate, 0.25 * rate]
        assert {group["momentum"] for group in optimizer.param_groups} == {
            THREE_STAGES.stage_at(step).momentum
        }
        update(optimizer, scheduler)


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9), lambda p: torch.optim.Adam(p)]
)
def test_optimizer_without_discount_gets_the_rate_alone_and_one_warning(make: Any) -> None:
    optimizer = make([weight()])
    before = {k: v for k, v in optimizer.param_groups[0].items() if k not in ("params", "lr")}
    with pytest.warns(UserWarning, match=r"only the learning rate .* use tunecli\.QHM") as caught:
        scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for step in range(THREE_STAGES.total_steps):
        group = optimizer.param_groups[0]
        assert group["lr"] == THREE_STAGES.stage_at(step).learning_rate
        assert all(group[k] == v for k, v in before.items())
        update(optimizer, scheduler)


def test_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    rate = torch.tensor(1.0)
    optimizer = torch.optim.SGD([weight()], lr=rate)
    with pytest.warns(UserWarning, match="only the learning rate"):
        scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    for _ in range(3):
        update(optimizer, scheduler)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.2)
    saved = copy.deepcopy(scheduler.state_dict())
    update(optimizer, scheduler)
    scheduler.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.2)


def test_torch_warns_when_the_scheduler_is_stepped_before_the_optimizer() -> None:
    scheduler = StagewiseScheduler(QHM([weight()], 1.0), THREE_STAGES)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        scheduler.step()


def test_optimizer_can_step_it_by_a_hook() -> None:
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    for step in range(THREE_STAGES.total_steps):
        assert settings(optimizer) == of(THREE_STAGES.stage_at(step))
        optimizer.step()
    assert scheduler.last_epoch == THREE_STAGES.total_steps


def saved_after(steps: int) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    parameter = weight()
    optimizer = QHM([parameter], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    for _ in range(steps):
        update(optimizer, scheduler)
    # through a file that is read back as plain data
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), scheduler.state_dict()), file)
    file.seek(0)
    of_optimizer, of_scheduler = torch.load(file, weights_only=True)
    return of_optimizer, of_scheduler, parameter.detach().clone()


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("order", ["optimizer first", "scheduler first", "before it is built"])
def test_resumed_training_is_the_uninterrupted_one(steps: int, order: str) -> None:
    whole = weight()
    one = QHM([whole], 1.0)
    uninterrupted = StagewiseScheduler(one, THREE_STAGES)
    of_optimizer, of_scheduler, value = saved_after(steps)
    parameter = nn.Parameter(value)
    optimizer = QHM([parameter], 55.0)
    if order == "before it is built":
        optimizer.load_state_dict(of_optimizer)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    if order == "optimizer first":
        optimizer.load_state_dict(of_optimizer)
    scheduler.load_state_dict(of_scheduler)
    if order == "scheduler first":
        optimizer.load_state_dict(of_optimizer)
    assert settings(optimizer) == of(THREE_STAGES.stage_at(min(steps, 7)))
    for _ in range(steps):
        update(one, uninterrupted)
    for _ in range(steps, THREE_STAGES.total_steps):
        assert settings(optimizer) == settings(one)
        update(one, uninterrupted)
        update(optimizer, scheduler)
    assert parameter.item() == whole.item()


def test_loading_alone_sets_an_optimizer_that_was_never_restored() -> None:
    _, of_scheduler, _ = saved_after(4)
    optimizer = QHM([weight()], 55.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    scheduler.load_state_dict(of_scheduler)
    assert settings(optimizer) == of(THREE_STAGES.stages[2])
    assert scheduler.get_last_lr() == [0.1]


def test_last_epoch_goes_on_as_in_torch_and_needs_no_initial_lr() -> None:
    optimizer = QHM([weight()], 55.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES, last_epoch=3 - 1)
    assert scheduler.last_epoch == 3
    assert settings(optimizer) == of(THREE_STAGES.stages[1])


def test_state_of_another_schedule_is_refused_and_nothing_changes() -> None:
    _, of_scheduler, _ = saved_after(4)
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES.scaled(2))
    before = settings(optimizer), scheduler.state_dict()
    with pytest.raises(InvalidValueError, match=r"the state's schedule .*0\.8.* but got .*0\.4"):
        scheduler.load_state_dict(of_scheduler)
    assert (settings(optimizer), scheduler.state_dict()) == before
    shorter = StagewiseScheduler(QHM([weight()], 1.0), Schedule(THREE_STAGES.stages[:2]))
    with pytest.raises(InvalidValueError, match=r"\(2 stages\) but got 3 stages"):
        shorter.load_state_dict(of_scheduler)


def test_state_of_another_kind_of_scheduler_is_refused() -> None:
    optimizer = QHM([weight()], 1.0)
    other = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    with pytest.raises(InvalidValueError, match="state_dict must have schedule"):
        scheduler.load_state_dict(other.state_dict())


def test_what_is_no_schedule_or_no_optimizer_is_refused() -> None:
    stages: Any = THREE_STAGES.to_list()
    with pytest.raises(InvalidValueError, match="schedule must be a Schedule but got list"):
        StagewiseScheduler(QHM([weight()], 1.0), stages)
    nothing: Any = [weight()]
    with pytest.raises(TypeError, match="list is not an Optimizer"):
        StagewiseScheduler(nothing, THREE_STAGES)
    with pytest.raises(InvalidValueError, match="last_epoch must be ≥ -1"):
        StagewiseScheduler(QHM([weight()], 1.0), THREE_STAGES, last_epoch=-2)


def test_it_is_quiet_where_nothing_is_wrong() -> None:
    schedule = multistage_schedule(learning_rate=0.1, batch_size=8, steps=2)
    optimizer = QHM([weight()], 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = StagewiseScheduler(optimizer, schedule)
        for _ in range(schedule.total_steps):
            update(optimizer, scheduler)
    assert isinstance(scheduler, LRScheduler)


def test_automatic_scheduler_is_the_one_that_is_stepped_by_hand() -> None:
    by_hand, by_itself = weight(), weight()
    one, other = QHM([by_hand], 1.0), QHM([by_itself], 1.0)
    scheduler = StagewiseScheduler(one, THREE_STAGES)
    StagewiseScheduler(other, THREE_STAGES, automatic=True)  # the optimizer holds it
    for _ in range(THREE_STAGES.total_steps):
        assert settings(other) == settings(one)
        update(one, scheduler)
        other.zero_grad()
        (by_itself**2).sum().backward()  # type: ignore[no-untyped-call]
        other.step()
        assert by_itself.item() == by_hand.item()


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("first", ["optimizer", "scheduler"])
def test_automatic_scheduler_resumes_exactly(steps: int, first: str) -> None:
    def train(parameter: nn.Parameter, optimizer: Optimizer, updates: int) -> None:
        for _ in range(updates):
            optimizer.zero_grad()
            (parameter**2).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    whole = weight()
    uninterrupted = QHM([whole], 1.0)
    StagewiseScheduler(uninterrupted, THREE_STAGES, automatic=True)
    train(whole, uninterrupted, THREE_STAGES.total_steps)

    of_optimizer, of_scheduler, value = saved_after(steps)
    parameter = nn.Parameter(value)
    optimizer = QHM([parameter], 55.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES, automatic=True)
    parts: list[tuple[Any, Any]] = [(optimizer, of_optimizer), (scheduler, of_scheduler)]
    for part, state in parts if first == "optimizer" else reversed(parts):
        part.load_state_dict(state)
    assert scheduler.last_epoch == steps
    train(parameter, optimizer, THREE_STAGES.total_steps - steps)
    assert parameter.item() == whole.item()


def test_automatic_scheduler_refuses_a_step_by_hand_and_counts_none() -> None:
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES, automatic=True)
    optimizer.step()
    with pytest.raises(InvalidValueError, match=r"automatic must be False where scheduler\.step"):
        scheduler.step()
    assert scheduler.last_epoch == 1
    optimizer.step()
    assert scheduler.last_epoch == 2


def test_automatic_scheduler_counts_a_closure_once_and_a_skipped_update_not_at_all() -> None:
    parameter = weight()
    optimizer = QHM([parameter], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES, automatic=True)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)
    assert scheduler.last_epoch == 1

    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for scale, made in ((1.0, 2), (float("inf"), 2), (1.0, 3)):
        optimizer.zero_grad()
        scaler.scale((parameter**2).sum() * scale).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        assert scheduler.last_epoch == made


@pytest.mark.parametrize("automatic", [True, False])
def test_scheduler_keeps_no_model_alive(automatic: bool) -> None:
    """What only Python's collector would find stays on the device from trial to trial."""

    def train() -> "ref[nn.Parameter]":
        parameter = weight()
        optimizer = QHM([parameter], 1.0)
        scheduler = StagewiseScheduler(optimizer, THREE_STAGES, automatic=automatic)
        optimizer.step()
        if not automatic:
            scheduler.step()
        return ref(parameter)

    gc.disable()
    try:
        assert train()() is None
    finally:
        gc.enable()


def test_automatic_scheduler_without_its_optimizer_says_so() -> None:
    scheduler = StagewiseScheduler(QHM([weight()], 1.0), THREE_STAGES, automatic=True)
    with pytest.raises(InvalidValueError, match="optimizer must be alive"):
        scheduler.get_lr()
    assert scheduler.state_dict()["last_epoch"] == 0


def test_automatic_scheduler_beyond_its_end_warns_at_the_line_of_the_update() -> None:
    optimizer = QHM([weight()], 1.0)
    StagewiseScheduler(optimizer, THREE_STAGES, automatic=True)
    for _ in range(THREE_STAGES.total_steps):
        optimizer.step()
    with pytest.warns(UserWarning, match="schedule has 8 updates") as caught:
        optimizer.step()
    assert caught[0].filename == __file__


@pytest.mark.parametrize("kept", [True, False])
def test_forgotten_step_is_warned_of_once(kept: bool) -> None:
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    if not kept:  # nobody can step it any more
        del scheduler
    for _ in range(4):
        optimizer.step()
    with pytest.warns(UserWarning, match=r"5 updates without the scheduler.*automatic") as caught:
        optimizer.step()
    assert caught[0].filename == __file__
    another = QHM([weight()], 1.0)  # the next trial
    StagewiseScheduler(another, THREE_STAGES)
    for _ in range(20):  # warnings are errors
        optimizer.step()
        another.step()


def test_step_once_an_epoch_is_warned_of() -> None:
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)

    def epoch() -> None:
        for _ in range(10):
            optimizer.step()
        scheduler.step()

    with pytest.warns(UserWarning, match="each update, not each epoch"):
        epoch()
    epoch()  # warnings are errors


def test_optimizer_may_go_on_alone_after_the_schedule() -> None:
    optimizer = QHM([weight()], 1.0)
    scheduler = StagewiseScheduler(optimizer, THREE_STAGES)
    for _ in range(THREE_STAGES.total_steps):
        update(optimizer, scheduler)
    for _ in range(20):
        optimizer.step()


def test_what_is_said_of_an_optimizer_is_said_once_in_a_process() -> None:
    one, other = (torch.optim.SGD([weight()], lr=rate) for rate in (0.1, 0.2))
    with pytest.warns(UserWarning, match="only the learning rate"):
        StagewiseScheduler(one, THREE_STAGES)
    StagewiseScheduler(other, THREE_STAGES)  # warnings are errors
