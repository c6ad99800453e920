"""The server's side, over workers that compute in this process and answer in a given order."""

import copy
import io
import itertools
import math
import signal
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.data.load import Split
from tunecli.errors import InterruptedRunError, InvalidValueError, RunError
from tunecli.schedule import Schedule, Stage
from tunecli.theory.stability import MomentumKind
from tunecli.training import Trial
from tunecli.training.asynchronous.delivery import round_robin
from tunecli.training.asynchronous.measure import measure_delays
from tunecli.training.asynchronous.messages import Gradient, Work, WorkerLost, WorkerReady
from tunecli.training.asynchronous.parameters import FlatParameters
from tunecli.training.asynchronous.remote import RemoteTraining
from tunecli.training.asynchronous.simulated import SimulatedTraining
from tunecli.training.batches import BatchStream
from tunecli.training.protocol import NotYetError, wait_for_step

CPU = torch.device("cpu")
SAMPLES, FEATURES, CLASSES = 37, 6, 3
ONE_STAGE = Schedule((Stage(0.3, momentum=0.8, discount=0.5, batch_size=5, steps=20),))
NAN = math.nan


def data() -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator)
    return Split(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 1).long())


def network(*, normalized: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES)]
        if normalized:
            layers.insert(1, nn.BatchNorm1d(4))
        return nn.Sequential(*layers)


class Workers:
    """Each item of the script is the worker that answers, or an event to receive.

    None stands for a while in which nothing comes. `spoil` may change a gradient on its way.
    """

    def __init__(
        self,
        model: nn.Module,
        script: Iterable[int | WorkerReady | WorkerLost | None],
        *,
        num_workers: int = 2,
        replacements: int = 0,
        spoil: Callable[[int, Tensor], Tensor] = lambda _, values: values,
    ) -> None:
        self.num_workers = num_workers
        self.replacements = replacements
        self.works: list[Work] = []
        self.closed = 0
        self._spoil = spoil
        self._train = data()
        self._models = [copy.deepcopy(model) for _ in range(num_workers)]
        self._flats = [FlatParameters(each) for each in self._models]
        self._asked: dict[int, Work] = {}
        self._script = iter(script)
        self._starting = list(range(num_workers))

    def send(self, work: Work, parameters: Tensor) -> None:
        assert work.worker not in self._asked, "asked twice"
        self.works.append(work)
        self._asked[work.worker] = work
        self._flats[work.worker].values.copy_(parameters)

    def receive(self, timeout_s: float) -> Gradient | WorkerReady | WorkerLost | None:
        assert 0 < timeout_s < 1
        if self._starting:
            return WorkerReady(self._starting.pop())  # the last one first
        event = next(self._script)
        if isinstance(event, WorkerLost):
            self._asked.pop(event.worker, None)
        return self._answer(self._asked.pop(event)) if isinstance(event, int) else event

    def replace(self, worker: int) -> bool:
        self.replacements -= 1
        return self.replacements >= 0

    def close(self) -> None:
        self.closed += 1

    def _answer(self, work: Work) -> Gradient:
        model, flat = self._models[work.worker], self._flats[work.worker]
        inputs = self._train.inputs[work.samples]
        loss = functional.cross_entropy(model(inputs), self._train.targets[work.samples])
        flat.zero_gradient()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature is untyped
        values = self._spoil(work.worker, flat.gradient.clone())
        buffers = tuple(model.buffers())
        return Gradient(work.worker, work.version, values, loss.item(), len(inputs), buffers)


def training(
    script: Iterable[int | WorkerReady | WorkerLost | None],
    schedule: Schedule = ONE_STAGE,
    *,
    num_workers: int = 2,
    normalized: bool = False,
    replacements: int = 0,
    spoil: Callable[[int, Tensor], Tensor] = lambda _, values: values,
    **options: Any,
) -> tuple[RemoteTraining, list[Workers]]:
    """A training, and the workers that it has started so far."""
    started: list[Workers] = []

    def connect(model: nn.Module) -> Workers:
        crew = Workers(
            model, script, num_workers=num_workers, replacements=replacements, spoil=spoil
        )
        started.append(crew)
        return crew

    made = RemoteTraining(
        network(normalized=normalized),
        data(),
        schedule,
        connect=connect,
        num_workers=num_workers,
        seed=1,
        device=CPU,
        **options,
    )
    return made, started


def vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("momentum_kind", ["none", "standard", "shifted"])
@pytest.mark.parametrize("in_turn", [True, False])
def test_workers_in_turn_are_the_simulation_bit_for_bit(
    momentum_kind: MomentumKind, in_turn: bool
) -> None:
    script = [2, 1, 0] * 7 if in_turn else [0, 1, 2] * 7  # the order of arrival is no matter then
    remote, _ = training(
        script,
        num_workers=3,
        momentum_kind=momentum_kind,
        weight_decay=0.01,
        turns=(0, 1, 2) if in_turn else None,
    )
    simulated = SimulatedTraining(
        network(),
        data(),
        ONE_STAGE,
        round_robin(3, 20),
        seed=1,
        device=CPU,
        momentum_kind=momentum_kind,
        weight_decay=0.01,
    )
    for _ in range(20):
        assert remote.step().equal(simulated.step())
        assert vector(remote.model).equal(vector(simulated.model))
    assert remote.measurements() == simulated.measurements()
    assert remote.evaluate(data()) == simulated.evaluate(data())
    assert (remote.steps, remote.batch_sizes) == (20, ((5, 20),))
    # as many workers as did not deliver the last update had something in hand by then
    assert remote.samples == 100 + 2 * 5


def test_delays_of_an_uneven_order_are_those_worked_out_by_hand() -> None:
    remote, [] = training([0, 0, 0, 1] * 5)
    for _ in range(20):
        remote.step()
    # worker 0 reads 0 1 2 | 3 5 6 | 7 9 10 …, worker 1 reads 0 4 8 …; updates are numbered from 0:
    # 0 0 0 3 | 1 0 0 3 | 1 0 0 3 | …
    assert remote.measurements() == {
        "delays": {"0": 11, "1": 4, "3": 5},
        "mean_delay": (4 + 15) / 20,
        "workers": [15, 5],
        "refused": 0,
        "lost": 0,
        "replaced": 0,
        "batch_norm": None,
    }


def test_no_worker_is_asked_before_all_are_ready() -> None:
    remote, started = training([0, 1])
    assert not started  # nothing runs before the first step
    remote.step()
    [crew] = started
    assert [(work.worker, work.version) for work in crew.works] == [(0, 0), (1, 0), (0, 1)]
    stream = BatchStream(SAMPLES, seed=1, device=CPU)
    assert all(work.samples.equal(stream.next(5)) for work in crew.works)


def test_stage_of_an_update_and_the_batch_in_flight() -> None:
    stages = (Stage(0.3, 0.5, 0.5, 8, 3), Stage(0.1, 0.9, 0.5, 4, 5))
    remote, [] = training([0, 1] * 4, Schedule(stages), momentum_kind="standard")
    rates = []
    for _ in range(8):
        remote.step()
        rates.append(remote.server._optimizer.param_groups[0]["lr"])
    assert rates == [0.3] * 3 + [0.1] * 5
    # update 3 is the first of the second stage: after it, and not before, work has the new size
    assert remote.batch_sizes == ((8, 4), (4, 4))
    assert remote.samples == 48 + 4


def test_momentum_is_reset_at_the_start_of_a_stage() -> None:
    stages = (Stage(0.3, 0.5, 1.0, 8, 3), Stage(0.1, 0.5, 1.0, 8, 5))
    remote, [] = training(
        [0, 1] * 4, Schedule(stages), momentum_kind="standard", reset_momentum=True
    )
    for _ in range(4):
        before = remote.server.values.clone()
        remote.step()
    [velocity] = remote.server.state_dict()["velocities"].values()
    torch.testing.assert_close(before - remote.server.values, 0.1 * velocity)
    other, [] = training([0, 1] * 4, Schedule(stages), momentum_kind="standard")
    for _ in range(4):
        other.step()
    [carried] = other.server.state_dict()["velocities"].values()
    assert not torch.allclose(velocity, carried)


def test_gradient_that_is_not_finite_is_refused_and_training_goes_on() -> None:
    spoiled = iter([True, False, True])

    def spoil(worker: int, values: Tensor) -> Tensor:
        return values * NAN if worker == 1 and next(spoiled, False) else values

    remote, [] = training([1, 0, 1, 1, 0, 1], spoil=spoil)
    before = remote.server.values.clone()
    assert all(remote.step().isfinite() for _ in range(4))
    assert not before.equal(remote.server.values)
    measured = remote.measurements()
    assert (remote.steps, measured["refused"], measured["workers"]) == (4, 2, [2, 2])
    assert remote.samples == 5 * (4 + 2 + 2)  # applied, refused, and in flight
    note = "a gradient of worker 1 was refused: it is not finite (2 times)"
    assert remote.take_notes() == [note]
    assert remote.take_notes() == []


def test_parameters_past_saving_are_divergence_to_a_trial() -> None:
    applied = 0

    def spoil(_: int, values: Tensor) -> Tensor:
        nonlocal applied
        applied += 1
        return values if applied <= 8 else values * math.inf

    remote, [] = training([0, 1] * 10, spoil=spoil)
    outcome = Trial(remote, data(), evaluations=1).run()
    assert outcome.diverged
    assert "not finite" in outcome.reason
    assert remote.server.version == 8
    assert outcome.measured["refused"] == 4  # max(3, twice the workers), then no more
    assert (outcome.steps, outcome.batch_sizes, outcome.curve[-1].steps) == (8, ((5, 8),), 0)
    assert remote.steps == 20  # the others were due
    assert torch.cat([p.flatten() for p in remote.model.parameters()]).isfinite().all()


def test_gradients_of_another_shape_end_the_run_with_a_sentence() -> None:
    remote, [] = training([0, 1] * 10, spoil=lambda _, values: values[1:])
    for _ in range(2):
        with pytest.raises(RunError, match=r"every gradient was refused .* of shape"):
            remote.step()
    assert remote.measurements()["refused"] == 4


def test_lost_worker_is_replaced_and_asked_when_it_is_ready() -> None:
    script: list[int | WorkerReady | WorkerLost | None] = [
        *(0, 1, 0, WorkerLost(1, "was killed by SIGKILL"), 0, 0, WorkerReady(1), 0, 1)
    ]
    remote, started = training(script, replacements=1)
    for _ in range(7):
        remote.step()
    measured = remote.measurements()
    assert (measured["lost"], measured["replaced"], measured["workers"]) == (1, 1, [5, 2])
    assert measured["delays"]["1"] == 2 + 1  # the newcomer's gradient is fresh but for one update
    assert [work.version for work in started[0].works if work.worker == 1] == [0, 2, 5, 7]
    assert remote.take_notes() == [
        "worker 1 was killed by SIGKILL",
        "another worker 1 starts in its place",
    ]


def test_worker_that_is_not_replaced_is_dropped_and_loses_its_turns() -> None:
    script: list[int | WorkerReady | WorkerLost | None] = [
        *(0, 1, 2, 1, WorkerLost(1, "was killed by SIGKILL"), 0, 2, 0, 2)
    ]
    remote, _ = training(script, num_workers=3, turns=(0, 1, 2))
    for _ in range(6):
        remote.step()
    # the second gradient of worker 1 waited for its turn, and went with its worker
    assert remote.measurements()["workers"] == [3, 1, 2]
    assert remote.take_notes() == [
        "worker 1 was killed by SIGKILL",
        "worker 1 is not replaced, 2 left",
    ]
    remote.step()
    assert remote.measurements()["workers"] == [3, 1, 3]


def test_worker_that_never_starts_does_not_keep_the_others_waiting() -> None:
    remote, started = training([])
    crew = Workers(network(), [WorkerLost(1, "ended"), 0])
    crew._starting = [0]
    remote._connect = lambda _: crew
    remote.step()
    assert not started
    assert remote.measurements()["workers"] == [1, 0]


def test_worker_that_cannot_be_replaced_leaves_the_run_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote, started = training([0, 1, WorkerLost(1, "was killed by SIGKILL"), 0, 0])
    remote.step()

    def replace(_: int) -> bool:
        assert list(remote._notes) == ["worker 1 was killed by SIGKILL"]  # already
        raise RunError("a worker process cannot be started: EAGAIN")

    monkeypatch.setattr(started[0], "replace", replace)
    for _ in range(3):
        remote.step()
    measured = remote.measurements()
    assert (measured["lost"], measured["replaced"], measured["workers"]) == (1, 0, [3, 1])
    assert remote.take_notes() == [
        "worker 1 was killed by SIGKILL",
        "worker 1 is not replaced, 1 left, because a worker process cannot be started: EAGAIN",
    ]


def test_step_that_waits_in_vain_changes_nothing_and_can_be_taken_again() -> None:
    remote, _ = training([0, None, None, 1], momentum_kind="shifted")
    other, [] = training([0, 1], momentum_kind="shifted")
    assert remote.step().equal(other.step())
    before = remote.server.values.clone()
    for _ in range(2):
        with pytest.raises(NotYetError):
            remote.step()
    assert (remote.steps, remote.samples) == (1, 15)
    assert before.equal(remote.server.values)
    assert remote.step().equal(other.step())
    assert remote.server.values.equal(other.server.values)


def test_refusals_in_a_row_are_counted_on_when_a_step_had_to_wait() -> None:
    remote, [] = training([0, None, 1, None, 0, None, 1], spoil=lambda _, values: values * NAN)
    for _ in range(3):
        with pytest.raises(NotYetError):
            remote.step()
    assert remote.step().isnan()
    assert remote.measurements()["refused"] == 4


def test_waiting_ends_when_it_is_told_to() -> None:
    remote, [] = training([None, None, 0, None, None, None])
    asked = itertools.count(1)

    def check_stop() -> None:
        if next(asked) == 6:
            raise InterruptedRunError("stopped on request", signal.SIGINT)

    assert wait_for_step(remote, check_stop).isfinite()  # asked three times
    with pytest.raises(InterruptedRunError):
        wait_for_step(remote, check_stop)
    assert next(asked) == 7
    assert remote.steps == 1


def test_trial_returns_while_nothing_comes_and_goes_on_afterwards() -> None:
    remote, [] = training([0, 1, None, None, *[0, 1] * 9])
    trial = Trial(remote, data(), evaluations=1)
    steps = []
    while not trial.finished:
        trial.advance()
        steps.append(remote.steps)
    assert steps == [2, 2, 20]
    other, [] = training([0, 1] * 10)
    assert trial.outcome().curve == Trial(other, data(), evaluations=1).run().curve


@pytest.mark.parametrize("how", ["replaced", "resumed", "refused"])
def test_worker_that_begins_anew_has_the_momentum_of_the_parameters_it_reads(how: str) -> None:
    """STAB Eq. 10: d_{t+1} = β d_{t−τ} + (1 − β) g, where t − τ is another worker's update."""
    spoiled = iter([False] * 4 + [how == "refused"])

    def spoil(_: int, values: Tensor) -> Tensor:
        return values * NAN if next(spoiled, False) else values

    script: dict[str, list[int | WorkerReady | WorkerLost | None]] = {
        "replaced": [WorkerLost(1, "ended"), WorkerReady(1), 1],
        "resumed": [],
        "refused": [1, 1],
    }
    remote, _ = training(
        [1, 1, 0, 0, *script[how]], momentum_kind="shifted", spoil=spoil, replacements=1
    )
    for _ in range(4):
        remote.step()
    latest, own = (remote.server._velocities[worker].clone() for worker in (0, 1))
    if how == "resumed":
        state = remote.state_dict()
        remote, _ = training([1], momentum_kind="shifted")
        remote.load_state_dict(state)
    read = remote.server.values.clone()
    remote.step()
    assert remote.server.record.workers == [2, 3]
    stage, moved = ONE_STAGE.stages[0], (read - remote.server.values) / 0.3
    new = remote.server._velocities[1]
    gradient = (new - stage.momentum * latest) / (1 - stage.momentum)
    torch.testing.assert_close(moved, (1 - stage.discount) * gradient + stage.discount * new)
    wrong = (new - stage.momentum * own) / (1 - stage.momentum)
    assert not torch.allclose(gradient, wrong)


def test_run_without_workers_ends_with_a_sentence() -> None:
    remote, [] = training([0, WorkerLost(0, "ended"), WorkerLost(1, "was killed by SIGKILL")])
    remote.step()
    with pytest.raises(RunError, match="no worker is left, the last one, worker 1, was killed by"):
        remote.step()
    assert remote.measurements()["lost"] == 2
    assert len(remote.take_notes()) == 4


@pytest.mark.parametrize("steps", [150, 30])
def test_run_whose_delays_are_all_zero_fails_loudly(steps: int) -> None:
    schedule = Schedule((Stage(0.1, 0.0, 0.0, 4, steps),))
    remote, [] = training([0] * 150, schedule)  # worker 1 is never heard
    known = min(steps, 100)
    for _ in range(known - 1):
        remote.step()
    with pytest.raises(RunError, match=r"must have delays, .* and 1 of 2 workers brought them"):
        remote.step()
    assert remote.server.version == known


def test_one_delay_is_enough_to_be_asynchronous() -> None:
    schedule = Schedule((Stage(0.1, 0.0, 0.0, 4, 120),))
    remote, [] = training([1, 0, *[0] * 118], schedule)
    for _ in range(120):
        remote.step()
    assert remote.measurements()["delays"] == {"0": 119, "1": 1}


def test_staleness_factor_scales_each_update_by_its_delay() -> None:
    seen: list[int] = []

    def factor(delay: int) -> float:
        seen.append(delay)
        return 0.0 if delay else 1.0

    remote, [] = training([0, 1] * 2, staleness_factor=factor)
    remote.step()
    moved = remote.server.values.clone()
    for _ in range(3):
        remote.step()
    assert seen == [0, 1, 1, 1]
    assert moved.equal(remote.server.values)


def test_resumed_training_goes_on_with_the_record_and_new_workers() -> None:
    remote, [] = training([0, 1] * 10, momentum_kind="shifted", normalized=True)
    for _ in range(6):
        remote.step()
    file = io.BytesIO()
    torch.save(remote.state_dict(), file)
    file.seek(0)
    resumed, started = training([1, 0] * 7, momentum_kind="shifted", normalized=True)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.evaluate(data()) == remote.evaluate(data())
    assert resumed.measurements() == remote.measurements()
    assert (resumed.steps, resumed.samples, resumed.batch_sizes) == (6, 40, ((5, 6),))
    resumed.step()
    [crew] = started
    assert [work.version for work in crew.works] == [6, 6, 7]
    drawn = BatchStream(SAMPLES, seed=1, device=CPU, position=8 * 5)  # with the two in flight
    assert crew.works[0].samples.equal(drawn.next(5))
    # worker 0 has not answered again, so it still has the statistics that it started with
    for saved, started_with in zip(remote.model.buffers(), crew._models[0].buffers(), strict=True):
        assert saved.equal(started_with)
    while resumed.steps < 20:
        resumed.step()
    assert sum(resumed.measurements()["delays"].values()) == 20


def test_running_statistics_are_the_mean_of_the_workers() -> None:
    remote, started = training([0, 1, 1], normalized=True)
    untrained = remote.evaluate(data())
    for _ in range(3):
        remote.step()
    [crew] = started
    remote.evaluate(data())
    first, second = crew._models
    mean = (first.get_buffer("1.running_mean") + second.get_buffer("1.running_mean")) / 2
    torch.testing.assert_close(remote.model.get_buffer("1.running_mean"), mean)
    assert remote.model.get_buffer("1.num_batches_tracked") == 2  # the latest one's
    assert remote.measurements()["batch_norm"] == "mean of the workers"
    assert remote.evaluate(data()) != untrained


def test_close_ends_the_workers_once_and_a_step_starts_new_ones() -> None:
    remote, started = training([0, 1] * 10)
    remote.close()
    remote.step()
    remote.close()
    remote.close()
    assert [crew.closed for crew in started] == [1]
    remote.step()
    assert len(started) == 2
    assert started[1].works[0].version == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [({"num_workers": 1}, "num_workers"), ({"turns": (0, 0)}, "turns"), ({"turns": ()}, "turns")],
)
def test_training_refuses_senseless_options(options: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} must be"):
        training([], **options)


def test_measured_delays_leave_out_the_start_and_the_model_alone() -> None:
    model = network()
    before = vector(model).clone()
    made: list[Workers] = []

    def connect(copied: nn.Module) -> Workers:
        made.append(Workers(copied, [0, 1] * 2 + [0, 0, 0, 1] * 2))
        return made[-1]

    measured = measure_delays(
        model, data(), connect=connect, num_workers=2, batch_size=5, updates=8, seed=3
    )
    # after the warm-up the next ones were computed at 3 and 4: delays 1 0 0 3 | 1 0 0 3
    assert measured.delay.counts == (4.0, 2.0, 0.0, 2.0)
    assert (measured.updates, measured.samples) == (12, 5 * (12 + 1))
    assert measured.notes == ()
    assert measured.seconds > 0
    assert vector(model).equal(before)
    assert all(vector(each).equal(before) for each in made[0]._models)
    assert made[0].closed == 1


def test_delays_of_gradients_that_are_not_finite_cannot_be_measured() -> None:
    def connect(model: nn.Module) -> Workers:
        return Workers(model, [0, 1] * 10, spoil=lambda _, values: values * NAN)

    with pytest.raises(RunError, match="cannot be measured"):
        measure_delays(network(), data(), connect=connect, num_workers=2, batch_size=5, updates=8)


def test_measured_delays_of_one_worker_alone_fail_loudly_whatever_the_start_was() -> None:
    def connect(model: nn.Module) -> Workers:
        return Workers(model, [1, 0, 0, 0, *[0] * 8])  # the first gradient of worker 0 is late

    with pytest.raises(RunError, match=r"all 8 updates had the delay 0, and 1 of 2 workers"):
        measure_delays(network(), data(), connect=connect, num_workers=2, batch_size=5, updates=8)


def test_measurement_of_delays_can_be_stopped_and_ends_its_workers() -> None:
    made: list[Workers] = []
    asked = itertools.count()

    def connect(model: nn.Module) -> Workers:
        made.append(Workers(model, itertools.repeat(None)))
        return made[-1]

    def check_stop() -> None:
        if next(asked) == 3:
            raise InterruptedRunError("stopped on request", signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        measure_delays(
            network(), data(), connect=connect, num_workers=2, batch_size=5, check_stop=check_stop
        )
    assert made[0].closed == 1


def test_measured_delays_tell_what_happened_meanwhile() -> None:
    def connect(model: nn.Module) -> Workers:
        lost = WorkerLost(2, "was killed by SIGKILL")
        return Workers(model, [0, 1, 2, 0, 1, 2, lost, 0, 1, 0, 1], num_workers=3)

    measured = measure_delays(
        network(), data(), connect=connect, num_workers=3, batch_size=5, updates=4
    )
    assert measured.notes == ("worker 2 was killed by SIGKILL", "worker 2 is not replaced, 2 left")
    assert sum(measured.delay.counts) == 4
    assert (measured.updates, measured.samples) == (10, 5 * 12)
