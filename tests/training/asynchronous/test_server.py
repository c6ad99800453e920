import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tunecli.errors import InvalidValueError
from tunecli.schedule import Stage
from tunecli.theory.stability import MomentumKind
from tunecli.training.asynchronous.messages import Gradient
from tunecli.training.asynchronous.server import ParameterServer, RefusedGradientError

HALF = Stage(0.5, momentum=0.5, discount=1.0, batch_size=4, steps=100)
KINDS: list[MomentumKind] = ["none", "standard", "shifted"]


def server(*values: float, num_workers: int = 2, **options: Any) -> ParameterServer:
    parameters = torch.tensor(values or (1.0, -2.0), dtype=torch.float64)
    return ParameterServer(parameters, num_workers=num_workers, **options)


def gradient(*values: float, worker: int = 0, version: int = 0) -> Gradient:
    return Gradient(worker, version, torch.tensor(values, dtype=torch.float64), 1.0, 4)


def close(found: Tensor, *expected: float) -> bool:
    return torch.allclose(found, torch.tensor(expected, dtype=found.dtype), rtol=1e-14, atol=0)


def test_none_is_plain_sgd_by_hand() -> None:
    one = server(momentum_kind="none")
    for _ in range(2):
        one.apply(gradient(2.0, -4.0), HALF)
    assert close(one.values, 1 - 2 * 0.5 * 2, -2 + 2 * 0.5 * 4)


def test_standard_momentum_has_one_buffer_by_hand() -> None:
    one = server(1.0, momentum_kind="standard")
    one.apply(gradient(4.0, worker=0), HALF)  # d = 2
    assert close(one.values, 1 - 0.5 * 2)
    one.apply(gradient(8.0, worker=1), HALF)  # d = ½ · 2 + ½ · 8
    assert close(one.values, 0 - 0.5 * 5)


def test_shifted_momentum_has_one_buffer_per_worker_by_hand() -> None:
    one = server(1.0, momentum_kind="shifted")
    one.apply(gradient(4.0, worker=0), HALF)  # d = 2
    one.apply(gradient(8.0, worker=1), HALF)  # d = 4 of its own
    assert close(one.values, 1 - 0.5 * 2 - 0.5 * 4)
    one.apply(gradient(4.0, worker=0, version=1), HALF)  # d = ½ · 2 + ½ · 4
    assert close(one.values, 1 - 0.5 * 2 - 0.5 * 4 - 0.5 * 3)


def test_shifted_velocity_can_be_given_and_is_moved_on() -> None:
    one = server(1.0, momentum_kind="shifted", num_workers=1)
    velocity = torch.tensor([6.0], dtype=torch.float64)
    one.apply(gradient(4.0), HALF, velocity=velocity)
    assert close(velocity, 5.0)
    assert close(one.values, 1 - 0.5 * 5)


def test_discount_mixes_gradient_and_buffer_by_hand() -> None:
    stage = Stage(0.5, momentum=0.5, discount=0.25, batch_size=4, steps=1)
    one = server(1.0, momentum_kind="standard")
    one.apply(gradient(4.0), stage)
    assert close(one.values, 1 - 0.5 * (0.75 * 4 + 0.25 * 2))


def test_weight_decay_is_that_of_the_present_parameters() -> None:
    for mode in ("coupled", "decoupled"):
        one = server(1.0, momentum_kind="none", weight_decay=0.1, weight_decay_mode=mode)
        one.apply(gradient(0.0), HALF)
        one.apply(gradient(0.0), HALF)  # computed at version 0, decays version 1
        assert close(one.values, 0.95**2)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_delay_is_the_number_of_updates_in_between(ages: list[int]) -> None:
    one, expected = server(), []
    for step, age in enumerate(ages):
        expected.append(min(age, step))
        version = step - expected[-1]
        assert one.apply(gradient(0.0, 0.0, version=version), HALF) == expected[-1]
        assert one.version == step + 1
    measured = one.record.measurements(batch_norm=None)
    assert measured["delays"] == {str(d): expected.count(d) for d in sorted(set(expected))}
    assert measured["mean_delay"] == pytest.approx(sum(expected) / len(expected))


def test_staleness_factor_scales_the_rate_of_its_own_update() -> None:
    one = server(1.0, momentum_kind="none", staleness_factor=lambda delay: 1 / (1 + delay))
    one.apply(gradient(1.0), HALF)
    assert close(one.values, 1 - 0.5)
    one.apply(gradient(1.0, version=0), HALF)
    assert close(one.values, 1 - 0.5 - 0.25)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("refused", "because"),
    [
        (gradient(math.nan, 1.0), "it is not finite"),
        (gradient(math.inf, -math.inf), "it is not finite"),
        (gradient(1.0), r"it is torch.float64 of shape \(1,\) on cpu, the parameters are"),
        (Gradient(0, 0, torch.ones(2), 1.0, 4), "it is torch.float32 of shape"),
        (gradient(1.0, 1.0, version=3), "it is for version 3, the server is at 2"),
        (gradient(1.0, 1.0, version=-1), "it is for version -1"),
        (gradient(1.0, 1.0, worker=2), "there is no worker 2"),
        (gradient(1.0, 1.0, worker=-1), "there is no worker -1"),
    ],
)
def test_unusable_gradient_is_refused_and_changes_nothing(
    kind: MomentumKind, refused: Gradient, because: str
) -> None:
    one, other = server(momentum_kind=kind), server(momentum_kind=kind)
    for each in (one, other):
        each.apply(gradient(1.0, 2.0), HALF)
        each.apply(gradient(2.0, 2.0, worker=1), HALF)
    with pytest.raises(RefusedGradientError, match=because):
        one.apply(refused, HALF)
    assert one.record.refused == 1
    assert one.version == other.version == 2
    assert torch.equal(one.values, other.values)
    assert one.record.delays == other.record.delays
    for each in (one, other):
        each.apply(gradient(3.0, 1.0, version=1), HALF)
    assert torch.equal(one.values, other.values)


@pytest.mark.parametrize(("num_workers", "patience"), [(1, 3), (2, 4), (5, 10)])
def test_parameters_are_past_saving_after_refusals_in_a_row(
    num_workers: int, patience: int
) -> None:
    one = server(1.0, num_workers=num_workers)

    def refuse(count: int) -> None:
        for _ in range(count):
            with pytest.raises(RefusedGradientError):
                one.apply(gradient(math.nan), HALF)

    refuse(patience - 1)
    one.apply(gradient(1.0), HALF)
    refuse(patience - 1)
    spared = one.past_saving
    refuse(1)
    assert (spared, one.past_saving) == (False, True)
    again = server(5.0, num_workers=num_workers)
    again.load_state_dict(one.state_dict())
    assert again.past_saving


def test_worker_that_did_not_make_the_last_update_takes_over_its_velocity_by_hand() -> None:
    one = server(1.0, momentum_kind="shifted")
    one.hand_out(1)  # there is no velocity yet
    one.apply(gradient(4.0, worker=0), HALF)  # d = 2
    one.hand_out(0)
    one.hand_out(1)
    one.apply(gradient(8.0, worker=1), HALF)  # d = ½ · 2 + ½ · 8
    assert close(one.values, 1 - 0.5 * 2 - 0.5 * 5)
    one.apply(gradient(4.0, worker=0), HALF)  # d = ½ · 2 + ½ · 4: still its own
    assert close(one.values, 1 - 0.5 * 2 - 0.5 * 5 - 0.5 * 3)
    common = server(1.0, momentum_kind="standard")
    for worker in (0, 1):
        common.hand_out(worker)
        common.apply(gradient(4.0, worker=worker), HALF)
    assert close(common.values, 1 - 0.5 * 2 - 0.5 * 3)


def test_finite_gradient_whose_sum_overflows_is_applied() -> None:
    one = ParameterServer(torch.zeros(2), num_workers=1)
    one.apply(Gradient(0, 0, torch.tensor([3e38, 3e38]), 1.0, 4), HALF)
    assert one.record.refused == 0
    assert one.version == 1


def test_kept_values_stay_and_the_server_goes_on() -> None:
    one = server(1.0)
    kept = one.keep_values()
    one.apply(gradient(2.0), HALF)
    assert close(kept, 1.0)
    assert close(one.values, 0.0)
    again = one.keep_values(spare=kept)
    assert one.values is kept
    one.apply(gradient(2.0), HALF)
    assert close(again, 0.0)
    assert close(one.values, -1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_reset_forgets_every_velocity(kind: MomentumKind) -> None:
    one, fresh = server(momentum_kind=kind), server(momentum_kind=kind)
    for worker in (0, 1):
        one.apply(gradient(1.0, 2.0, worker=worker), HALF)
    one.reset_momentum()
    one.values.copy_(fresh.values)
    for each in (one, fresh):
        for worker in (1, 0):
            each.apply(gradient(3.0, 1.0, worker=worker), HALF)
    assert torch.equal(one.values, fresh.values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", range(7))
def test_state_goes_on_bitwise_identically(kind: MomentumKind, stop: int) -> None:
    def work(one: ParameterServer, first: int, end: int) -> None:
        for step in range(first, end):
            version = max(0, step - 2)
            one.apply(gradient(math.sin(step), 0.3, worker=step % 2, version=version), HALF)

    options: dict[str, Any] = {"momentum_kind": kind, "weight_decay": 0.1}
    whole, part = server(**options), server(**options)
    work(whole, 0, 7)
    work(part, 0, stop)
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    resumed = server(5.0, 5.0, **options)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    work(resumed, stop, 7)
    assert torch.equal(resumed.values, whole.values)
    assert resumed.version == whole.version
    assert resumed.record.state_dict() == whole.record.state_dict()


def test_server_of_nobody_or_of_an_unknown_momentum_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="num_workers must be ≥ 1 but got 0"):
        server(num_workers=0)
    with pytest.raises(
        InvalidValueError, match="momentum_kind must be none or standard or shifted but got heavy"
    ):
        server(momentum_kind="heavy")
