import gc
import io
import itertools
import math
from collections.abc import Callable, Container, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.asynchronous.slow import (
    CPU,
    FEATURES,
    THREE_STAGES,
    data,
    network,
    slow,
    vector,
)
from tunecli.data.load import Split
from tunecli.errors import InvalidValueError
from tunecli.optim import QHM
from tunecli.schedule import Schedule, Stage
from tunecli.theory.delay import ConstantDelay, GeometricDelay
from tunecli.theory.stability import MomentumKind, stability_threshold
from tunecli.training import CentralizedTraining, Trial, TrialOutcome
from tunecli.training.asynchronous.delivery import Delivery, clock, drawn, round_robin
from tunecli.training.asynchronous.simulated import SimulatedTraining

TOTAL = THREE_STAGES.total_steps
KINDS: list[MomentumKind] = ["none", "standard", "shifted"]
DELIVERIES = {
    "alone": round_robin(1, TOTAL),
    "in turn": round_robin(5, TOTAL),
    "drawn": drawn(GeometricDelay.of_mean(4.0), TOTAL, seed=2),
    "clock": clock([1.0, 1.0, 0.2], TOTAL, seed=2),
}


def training(
    delivery: Delivery,
    schedule: Schedule = THREE_STAGES,
    *,
    model: nn.Module | None = None,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> SimulatedTraining:
    return SimulatedTraining(
        model or network(dtype), data(dtype), schedule, delivery, seed=1, device=CPU, **options
    )


def run(trained: SimulatedTraining | CentralizedTraining) -> list[float]:
    return [trained.step().item() for _ in range(trained.total_steps - trained.steps)]


def with_everything() -> nn.Module:
    """Dropout, running statistics, one matrix used twice, and a parameter without a gradient."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
            self.second.weight = self.first.weight
            self.norm, self.drop = nn.BatchNorm1d(FEATURES), nn.Dropout(0.3)
            self.unused = nn.Parameter(torch.ones(2))

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = torch.tanh(self.drop(self.norm(self.first(inputs))))
            return self.second(hidden)  # type: ignore[no-any-return]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model()


# --- what it computes


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("weight_decay", "mode"), [(0.0, "coupled"), (0.05, "coupled"), (0.05, "decoupled")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_momentum_without_delay_is_centralized_training_bitwise(
    reset: bool, weight_decay: float, mode: str, dtype: torch.dtype
) -> None:
    decay: dict[str, Any] = {"weight_decay": weight_decay, "weight_decay_mode": mode}
    options = {**decay, "reset_momentum": reset}
    expected = CentralizedTraining(
        network(dtype),
        data(dtype),
        THREE_STAGES,
        seed=1,
        device=CPU,
        make_optimizer=partial(QHM, **decay),
        reset_momentum=reset,
    )
    found = training(round_robin(1, TOTAL), momentum_kind="standard", dtype=dtype, **options)
    for _ in range(TOTAL):
        assert torch.equal(found.step(), expected.step())
        assert torch.equal(vector(found.model), vector(expected.model))
    assert found.batch_sizes == expected.batch_sizes
    assert found.samples == expected.samples
    assert found.evaluate(data(dtype)) == expected.evaluate(data(dtype))


def test_model_with_dropout_and_statistics_is_trained_as_centralized_without_delay() -> None:
    found = training(
        round_robin(1, TOTAL),
        model=with_everything(),
        dtype=torch.float32,
        momentum_kind="standard",
    )
    losses = run(found)
    expected = CentralizedTraining(
        with_everything(), data(torch.float32), THREE_STAGES, seed=1, device=CPU
    )
    assert run(expected) == losses
    assert torch.equal(vector(found.model), vector(expected.model))


def test_no_momentum_without_delay_is_torch_sgd() -> None:
    model, split = network(), data()
    found = training(round_robin(1, TOTAL), momentum_kind="none", weight_decay=0.05)
    seen: list[Tensor] = []
    found.model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    run(found)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.05)
    for step, inputs in enumerate(seen):
        rows = [int((split.inputs == row).all(dim=1).nonzero()) for row in inputs]
        optimizer.param_groups[0]["lr"] = THREE_STAGES.stage_at(step).learning_rate
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), split.targets[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(vector(found.model), vector(model), rtol=1e-12, atol=1e-13)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.05},
    {"weight_decay": 0.05, "decoupled": True},
    {"reset": True},
    {"factor": lambda delay: 1 / (1 + delay)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DELIVERIES)
def test_trajectory_is_the_papers_equations_in_float64(
    name: str, kind: MomentumKind, options: dict[str, Any]
) -> None:
    delivery = DELIVERIES[name]
    found = training(
        delivery,
        momentum_kind=kind,
        weight_decay=options.get("weight_decay", 0.0),
        weight_decay_mode="decoupled" if options.get("decoupled") else "coupled",
        reset_momentum=options.get("reset", False),
        staleness_factor=options.get("factor"),
    )
    for theta in slow(THREE_STAGES, delivery, kind=kind, **options):
        found.step()
        torch.testing.assert_close(vector(found.model), theta, rtol=1e-12, atol=1e-13)


def test_slow_references_differ_from_each_other() -> None:
    """Otherwise the test above could not tell them apart."""
    ends = [
        slow(THREE_STAGES, DELIVERIES[name], kind=kind, **options)[-1]
        for name, kind, options in (
            *itertools.product(DELIVERIES, KINDS, OPTIONS[:1]),
            *(("drawn", "shifted", options) for options in OPTIONS[1:]),
        )
    ]
    alike = {(1, 2)}  # without delay, the two kinds of momentum are the same
    for (i, one), (j, other) in itertools.combinations(enumerate(ends), 2):
        assert ((one - other).abs().max() > 1e-5) != ((i, j) in alike)


@pytest.mark.parametrize("name", ["in turn", "clock"])
def test_workers_own_velocity_is_that_of_the_version_read(name: str) -> None:
    """STAB's two readings of shifted momentum: a buffer per worker, and v_{t−τ}."""
    workers = DELIVERIES[name]
    nobodys = Delivery(workers.read, None)
    one, other = (training(d, momentum_kind="shifted") for d in (workers, nobodys))
    for _ in range(TOTAL):
        assert torch.equal(one.step(), other.step())
        assert torch.equal(vector(one.model), vector(other.model))


def test_every_delay_sees_the_same_batches_at_their_stages_sizes() -> None:
    seen: dict[str, list[Tensor]] = {name: [] for name in DELIVERIES}
    for name, delivery in DELIVERIES.items():
        trained = training(delivery)
        trained.model.register_forward_hook(
            lambda _, inputs, __, to=seen[name]: to.append(inputs[0])
        )
        run(trained)
        assert trained.batch_sizes == ((8, 9), (5, 1), (3, 14))
        assert trained.samples == THREE_STAGES.samples
    for batches in zip(*seen.values(), strict=True):
        assert all(torch.equal(batches[0], batch) for batch in batches)


def test_loss_is_that_of_the_parameters_read() -> None:
    trained, thetas = training(round_robin(4, TOTAL)), [vector(network())]
    seen: list[Tensor] = []
    trained.model.register_forward_hook(
        lambda *_: seen.append(
            torch.cat([p.detach().flatten() for p in trained.model.parameters()])
        )
    )
    for turn in range(TOTAL):
        trained.step()
        assert torch.equal(seen[-1], thetas[max(0, turn - 3)])
        thetas.append(vector(trained.model))


# --- linear stability


def quadratic(kind: MomentumKind, delay: int, stage: Stage) -> float:
    """How much one weight w with loss ½ · log(1 + eʷ) + ½ · log(1 + e⁻ʷ), a = ¼, has grown."""

    class Weight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((1, 1), 1e-6, dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.cat([inputs @ self.weight, 0 * inputs], dim=1)

    split = Split(torch.ones(2, 1, dtype=torch.float64), torch.tensor([0, 1]))
    model = Weight()
    trained = SimulatedTraining(
        model,
        split,
        Schedule((stage,)),
        round_robin(delay + 1, stage.steps),
        seed=0,
        device=CPU,
        momentum_kind=kind,
    )
    sizes = []
    for _ in range(stage.steps):
        trained.step()
        sizes.append(abs(model.weight.item()))
    return max(sizes[-40:]) / max(sizes[20:60])


@pytest.mark.parametrize("delay", [0, 1, 4])
@pytest.mark.parametrize(
    ("kind", "momentum", "discount"),
    [("none", 0.0, 1.0), ("standard", 0.5, 1.0), ("shifted", 0.5, 1.0), ("shifted", 0.8, 0.5)],
)
def test_minimum_is_left_just_above_the_stability_threshold(
    delay: int, kind: MomentumKind, momentum: float, discount: float
) -> None:
    threshold = stability_threshold(
        ConstantDelay(delay), momentum=momentum, momentum_kind=kind, discount=discount
    )
    below, above = (
        quadratic(kind, delay, Stage(factor * threshold / 0.25, momentum, discount, 2, 400))
        for factor in (0.97, 1.03)
    )
    assert below < 0.9
    assert above > 1.1


# --- memory


@pytest.fixture
def storages() -> Iterator[Callable[[], int]]:
    """Counts the memories of 1000 numbers and more that tensors hold, but for those there are."""
    gc.collect()
    gc.freeze()  # what is there already is not looked through again

    def count() -> int:
        tensors = (one for one in gc.get_objects() if type(one) in (Tensor, nn.Parameter))
        memories = (one.untyped_storage() for one in tensors)
        return len({memory.data_ptr() for memory in memories if memory.nbytes() >= 8000})

    yield count
    gc.unfreeze()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DELIVERIES)
def test_a_version_is_kept_exactly_as_long_as_a_later_turn_reads_it(
    name: str, kind: MomentumKind, storages: Callable[[], int]
) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 1000), nn.Linear(1000, 3, bias=False)).double()
    delivery = DELIVERIES[name]
    trained = training(delivery, model=model, momentum_kind=kind)
    served = set[int]()
    for turn in range(TOTAL):
        trained.step()
        served.add(0 if delivery.worker is None else int(delivery.worker[turn]))
        later = [int(read) for read in delivery.read[turn + 1 :]]
        alive = {read for read in later if read <= turn} | {turn + 1}
        buffers = 1
        if kind == "shifted":
            buffers = len(served) if delivery.worker is not None else len(alive)
        assert storages() == len(alive) + buffers + 1  # and the gradient


# --- what is refused


def spoiling(model: nn.Module, refused: Container[int]) -> nn.Module:
    """These gradients, counted as they are computed, are NaN, and their losses finite."""
    calls = itertools.count()
    first = next(iter(model.parameters()))
    first.register_hook(  # type: ignore[no-untyped-call]
        lambda g: g * math.nan if next(calls) in refused else g
    )
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DELIVERIES)
def test_refused_gradient_uses_up_its_batch_and_its_turn_takes_the_next(
    name: str, kind: MomentumKind
) -> None:
    refused = frozenset({0, 4, 5, 9, 17})

    def factor(delay: int) -> float:
        return 1 / (1 + delay)

    expected = slow(THREE_STAGES, DELIVERIES[name], kind=kind, refused=refused, factor=factor)
    found = training(
        DELIVERIES[name],
        model=spoiling(network(), refused),
        momentum_kind=kind,
        staleness_factor=factor,
    )
    for turn, theta in enumerate(expected):
        assert math.isfinite(found.step().item())
        torch.testing.assert_close(vector(found.model), theta, rtol=1e-12, atol=1e-13)
        if turn == 5:
            assert found.take_notes() == ["refused 3 gradients by update 6: it is not finite"]
            assert found.take_notes() == []
    assert found.take_notes() == ["refused 2 gradients by update 24: it is not finite"]
    measured, delays = found.measurements(), DELIVERIES[name].delays.tolist()
    assert measured["refused"] == len(refused)
    assert measured["delays"] == {str(d): delays.count(d) for d in sorted(set(delays))}
    assert found.steps == found.server.version == TOTAL
    assert found.batch_sizes == ((8, 9), (5, 1), (3, 14))
    # gradients 0, 4, 5 and 9 had batches of 8; then the tenth turn has 5, and 17 is of 3
    assert found.samples == THREE_STAGES.samples + 4 * 8 + 3


def test_sample_that_is_not_a_number_leaves_no_trace_in_running_statistics() -> None:
    split = data(torch.float32)
    split.inputs[5, 0] = math.nan
    trained = SimulatedTraining(
        with_everything(), split, THREE_STAGES, round_robin(3, TOTAL), seed=1, device=CPU
    )
    outcome = Trial(trained, data(torch.float32), evaluations=2).run()
    assert not outcome.diverged
    assert outcome.steps == TOTAL
    assert outcome.measured["refused"] > 0
    assert trained.model.get_buffer("norm.num_batches_tracked") == TOTAL
    assert trained.model.get_buffer("norm.running_mean").isfinite().all()


@pytest.mark.parametrize("num_workers", [1, 4])
def test_one_bad_batch_is_not_divergence_and_nothing_but_bad_ones_is(num_workers: int) -> None:
    patience = max(3, 2 * num_workers)

    def outcome(refused: Container[int]) -> TrialOutcome:
        trained = training(round_robin(num_workers, TOTAL), model=spoiling(network(), refused))
        return Trial(trained, data(), evaluations=2).run()

    spared = outcome({5, *range(8, 8 + patience - 1)})
    assert not spared.diverged
    assert spared.steps == TOTAL
    assert spared.measured["refused"] == patience
    spoiled = outcome(range(5, 10**9))
    assert spoiled.diverged
    assert spoiled.reason == "training loss not finite by update 12"
    assert (spoiled.steps, spoiled.batch_sizes) == (5, ((8, 5),))
    assert spoiled.measured["refused"] == patience
    assert spoiled.samples == 8 * (5 + patience)


def test_rate_that_is_far_too_large_is_divergence() -> None:
    schedule = Schedule((Stage(1e308, 0.0, 0.0, 8, 30),))
    trained = training(round_robin(4, 30), schedule)
    outcome = Trial(trained, data(), evaluations=1).run()
    assert outcome.diverged
    assert outcome.final is None
    assert trained.steps == 25
    assert trained.measurements()["refused"] == 8
    assert 0 < outcome.steps == trained.server.version < 25


# --- what is measured


@pytest.mark.parametrize("name", DELIVERIES)
def test_measured_delays_are_those_of_the_delivery(name: str) -> None:
    delivery = DELIVERIES[name]
    trained = training(delivery)
    assert trained.measurements()["mean_delay"] is None
    run(trained)
    measured, delays = trained.measurements(), delivery.delays.tolist()
    assert measured["delays"] == {str(d): delays.count(d) for d in sorted(set(delays))}
    assert measured["mean_delay"] == pytest.approx(sum(delays) / TOTAL)
    if delivery.worker is None:
        assert measured["workers"] == []
    else:
        served = delivery.worker.tolist()
        assert measured["workers"] == [served.count(w) for w in range(delivery.num_workers)]
    assert (measured["refused"], measured["lost"], measured["replaced"]) == (0, 0, 0)


def test_running_statistics_are_common_to_all_workers() -> None:
    assert training(round_robin(3, TOTAL)).measurements()["batch_norm"] is None
    model = with_everything()
    trained = training(round_robin(3, TOTAL), model=model, dtype=torch.float32)
    assert trained.measurements()["batch_norm"] == "common"
    run(trained)
    assert model.get_buffer("norm.num_batches_tracked") == TOTAL


def test_trial_keeps_what_was_measured() -> None:
    outcome = Trial(training(round_robin(3, TOTAL)), data()).run()
    assert outcome.measured["delays"] == {"0": 1, "1": 1, "2": TOTAL - 2}


# --- resuming


@pytest.mark.parametrize("stop", [0, 1, 9, 10, 17, TOTAL])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DELIVERIES)
def test_state_goes_on_bitwise_identically(name: str, kind: MomentumKind, stop: int) -> None:
    def fresh(refused: frozenset[int]) -> SimulatedTraining:
        return training(
            DELIVERIES[name],
            model=spoiling(with_everything(), refused),
            dtype=torch.float32,
            momentum_kind=kind,
            weight_decay=0.01,
            reset_momentum=True,
        )

    whole = fresh(frozenset({8, 12}))
    losses = run(whole)
    first = fresh(frozenset({8, 12}))
    for _ in range(stop):
        first.step()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    torch.manual_seed(12345)
    computed = stop + first.measurements()["refused"]
    resumed = fresh(frozenset({number - computed for number in (8, 12)}))
    with torch.no_grad():  # what is not restored will show
        for p in resumed.model.parameters():
            p.fill_(7.0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.steps == stop
    assert run(resumed) == losses[stop:]
    assert torch.equal(vector(resumed.model), vector(whole.model))
    assert resumed.measurements() == whole.measurements()
    assert resumed.batch_sizes == whole.batch_sizes
    assert resumed.samples == whole.samples


@pytest.mark.parametrize("stop", [5, 6, 9])
def test_parameters_past_saving_stay_so_through_a_checkpoint(stop: int) -> None:
    first = training(round_robin(2, TOTAL), model=spoiling(network(), range(5, 10**9)))
    for _ in range(stop):
        first.step()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = training(round_robin(2, TOTAL), model=spoiling(network(), range(10**9)))
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert [math.isfinite(loss) for loss in run(resumed)] == [False] * (TOTAL - stop)
    assert (resumed.steps, resumed.batch_sizes) == (TOTAL, ((8, 5),))
    assert resumed.measurements()["refused"] == 4


def test_state_has_the_servers_parameters_as_the_model() -> None:
    trained = training(round_robin(4, TOTAL))
    for _ in range(6):
        trained.step()
    model = network(seed=3)
    model.load_state_dict(trained.state_dict()["model"])
    expected = slow(THREE_STAGES, round_robin(4, TOTAL), kind="none")[5]
    torch.testing.assert_close(vector(model), expected, rtol=1e-12, atol=1e-13)


# --- arguments


def test_delivery_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="delivery must be of 24 turns but got 23"):
        training(round_robin(2, TOTAL - 1))


def test_closing_ends_nothing_and_can_be_repeated() -> None:
    trained = training(round_robin(2, TOTAL))
    trained.close()
    trained.close()
    assert len(run(trained)) == TOTAL


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_gpu_computes_what_the_cpu_does_and_goes_on_from_its_state(kind: MomentumKind) -> None:
    def on(device: torch.device) -> SimulatedTraining:
        return SimulatedTraining(
            network(),
            data(),
            THREE_STAGES,
            DELIVERIES["drawn"],
            seed=1,
            device=device,
            momentum_kind=kind,
        )

    first, rest, expected = on(CPU), on(torch.device("cuda:0")), on(CPU)
    losses = run(expected)
    for _ in range(11):
        first.step()
    rest.load_state_dict(first.state_dict())
    assert run(rest) == pytest.approx(losses[11:], rel=1e-9)
    torch.testing.assert_close(vector(rest.model).cpu(), vector(expected.model))
    assert rest.server.values.is_cuda
