import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.data import ranks
from tunecli.data.passes import cut_passes
from tunecli.data.stage_batches import StageBatchSampler
from tunecli.errors import InvalidValueError
from tunecli.optim import QHM
from tunecli.optim.stagewise import StagewiseScheduler
from tunecli.schedule import Schedule, Stage
from tunecli.training.batches import BatchStream


def stage(batch_size: int, steps: int) -> Stage:
    return Stage(0.1, momentum=0.9, discount=0.5, batch_size=batch_size, steps=steps)


THREE_STAGES = Schedule((stage(12, 3), stage(6, 4), stage(2, 5)))
schedules = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 5)), min_size=1, max_size=4).map(
    lambda stages: Schedule(tuple(stage(12 * size, steps) for size, steps in stages))
)


@pytest.mark.filterwarnings("ignore:a batch of")
@given(st.integers(1, 40), schedules, st.integers(0, 3))
def test_batches_are_those_that_a_recipes_training_draws(
    num_samples: int, schedule: Schedule, seed: int
) -> None:
    stream = BatchStream(num_samples, seed=seed, device=torch.device("cpu"))
    sampler = StageBatchSampler(num_samples, schedule, seed=seed)
    expected = [
        stream.next(schedule.stage_at(step).batch_size).tolist()
        for step in range(schedule.total_steps)
    ]
    assert list(sampler) == expected
    assert len(sampler) == len(expected)
    assert list(sampler) == expected  # again


@pytest.mark.filterwarnings("ignore:a batch of")
@given(st.integers(1, 40), schedules, st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_ranks_share_out_what_one_rank_draws(
    num_samples: int, schedule: Schedule, world_size: int
) -> None:
    whole = list(StageBatchSampler(num_samples, schedule, seed=1))
    shares = [
        list(StageBatchSampler(num_samples, schedule, seed=1, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part) for part in parts} == {len(batch) // world_size}
        assert [i for part in parts for i in part] == batch


@pytest.mark.filterwarnings("ignore:a batch of")
@given(st.integers(1, 40), schedules, st.data())
def test_start_step_is_the_rest(num_samples: int, schedule: Schedule, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, schedule.total_steps))
    whole = list(StageBatchSampler(num_samples, schedule))
    rest = StageBatchSampler(num_samples, schedule, start_step=start)
    assert list(rest) == whole[start:]
    assert len(rest) == len(whole) - start


@given(
    st.integers(1, 30),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.integers(0, 100),
)
def test_passes_cut_from_a_position_are_the_streams(
    num_samples: int, batch_sizes: list[int], position: int
) -> None:
    cpu = torch.device("cpu")
    stream = BatchStream(num_samples, seed=2, device=cpu, position=position)
    cut = cut_passes(num_samples, batch_sizes, seed=2, position=position)
    for size, batch in zip(batch_sizes, cut, strict=True):
        assert batch.tolist() == stream.next(size).tolist()


def test_batch_larger_than_the_data_is_warned_of_once() -> None:
    schedule = Schedule((stage(64, 1), stage(4, 1)))
    with pytest.warns(
        UserWarning, match=r"64 samples is larger than the data set \(10\)"
    ) as caught:
        StageBatchSampler(10, schedule)
    assert caught[0].filename == __file__
    StageBatchSampler(10, schedule, seed=1)  # warnings are errors: it is said once
    assert len(StageBatchSampler(64, schedule)) == 2  # as large as the data: every sample once


def test_numpys_whole_numbers_are_whole() -> None:
    thirty: Any = np.int64(30)
    assert list(StageBatchSampler(thirty, THREE_STAGES)) == list(
        StageBatchSampler(30, THREE_STAGES)
    )


def test_seeds_have_orders_of_their_own_and_no_global_generator_is_touched() -> None:
    before = torch.get_rng_state()
    orders = [list(StageBatchSampler(50, THREE_STAGES, seed=seed)) for seed in (0, 1)]
    assert orders[0] != orders[1]
    assert torch.equal(before, torch.get_rng_state())


def test_loader_with_two_workers_delivers_exactly_these_batches() -> None:
    inputs = torch.arange(30.0).reshape(30, 1)
    targets = torch.arange(30)
    sampler = StageBatchSampler(30, THREE_STAGES, seed=5)
    data: Dataset[Any] = TensorDataset(inputs, targets)
    loader = DataLoader(data, batch_sampler=sampler, num_workers=2)
    assert len(loader) == THREE_STAGES.total_steps
    delivered = [(x.flatten().tolist(), y.tolist()) for x, y in loader]
    assert delivered == [([float(i) for i in batch], batch) for batch in sampler]
    assert [len(y) for _, y in delivered] == [12] * 3 + [6] * 4 + [2] * 5


def test_scheduler_and_sampler_switch_at_the_same_update() -> None:
    schedule = Schedule(
        tuple(Stage(0.5**i, 0.9, 0.5, batch_size=8 - i, steps=2 + i) for i in range(4))
    )
    optimizer = QHM([nn.Parameter(torch.ones(1))], 1.0)
    scheduler = StagewiseScheduler(optimizer, schedule)
    pairs = []
    for batch in StageBatchSampler(30, schedule):
        pairs.append((optimizer.param_groups[0]["lr"], len(batch)))
        optimizer.step()
        scheduler.step()
    assert pairs == [(0.5**i, 8 - i) for i in range(4) for _ in range(2 + i)]


def test_two_real_ranks_average_to_the_full_batchs_gradient(tmp_path: Path) -> None:
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, ranks.__file__, str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks.WORLD_SIZE)
    ]
    try:
        told = [process.communicate(timeout=90)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], told
    drawn, averaged = zip(
        *(torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)), strict=True
    )

    model, data = ranks.network(), ranks.samples()
    optimizer = QHM(model.parameters(), 0.1)
    scheduler = StagewiseScheduler(optimizer, ranks.SCHEDULE)
    whole = list(StageBatchSampler(ranks.SAMPLES, ranks.SCHEDULE, seed=ranks.SEED))
    assert [one + other for one, other in zip(*drawn, strict=True)] == whole
    for step, batch in enumerate(whole):
        inputs, targets = data[batch]
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(model(inputs), targets).backward()
        for rank in range(2):
            torch.testing.assert_close(
                averaged[rank][step], ranks.gradients(model), rtol=0, atol=1e-12
            )
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number ≥ 1 but got 0"),
        ({"num_samples": 30.0}, r"num_samples must be a whole number ≥ 1 but got 30\.0"),
        ({"schedule": [1]}, "schedule must be a Schedule but got list; multistage_schedule"),
        ({"seed": -1}, "seed must be a whole number ≥ 0"),
        ({"world_size": 0}, "world_size must be a whole number ≥ 1"),
        ({"rank": -1}, "rank must be a whole number ≥ 0"),
        ({"rank": 2, "world_size": 2}, r"rank must be < world_size \(2\) but got 2"),
        ({"start_step": 13}, "start_step must be ≤ 12 but got 13"),
        (
            {"world_size": 4},
            r"batch_size of stage 2 must be a multiple of world_size \(4\) but got 6; choose",
        ),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"num_samples": 30, "schedule": THREE_STAGES}
    with pytest.raises(InvalidValueError, match=message):
        StageBatchSampler(**arguments | change)
