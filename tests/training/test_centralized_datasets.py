"""A training on a Dataset that draws at random: the same batches, whoever reads them and when."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.training.test_centralized import (
    CPU,
    FEATURES,
    SAMPLES,
    THREE_STAGES,
    data,
    network,
    run,
    seen_inputs,
    vector,
)
from tunecli.data.load import DatasetSplit, Split
from tunecli.schedule import Schedule, Stage
from tunecli.training import CentralizedTraining


class Noisy:
    """A Dataset that adds noise to a sample whenever it is read."""

    def __init__(self) -> None:
        self.split = data()

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.split.inputs[index] + torch.randn(FEATURES), self.split.targets[index]


def on_noisy(workers: int, *, seed: int = 1) -> CentralizedTraining:
    model = nn.Sequential(nn.Dropout(0.2), network())
    split = DatasetSplit(Noisy(), workers)
    return CentralizedTraining(model, split, THREE_STAGES, seed=seed, device=CPU)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (0, 2), (2, 0)])
@pytest.mark.parametrize("stop", [1, 7])
def test_training_on_a_dataset_goes_on_bitwise_identically_with_any_workers(
    before: int, after: int, stop: int
) -> None:
    whole = on_noisy(0)
    losses = run(whole)
    first = on_noisy(before)
    assert [first.step().item() for _ in range(stop)] == losses[:stop]
    state = copy.deepcopy(first.state_dict())
    first.close()
    torch.randn(50)  # another trial draws in between
    fresh = on_noisy(after)
    fresh.load_state_dict(state)
    assert run(fresh) == losses[stop:]
    fresh.close()
    assert torch.equal(vector(fresh), vector(whole))


def test_noise_of_a_dataset_is_another_with_another_seed_and_the_same_at_any_rate() -> None:
    def noise(rate: float, seed: int) -> Tensor:
        schedule = Schedule((Stage(rate, 0.9, 0.5, batch_size=SAMPLES, steps=2),))
        dataset = Noisy()
        dataset.split = Split(torch.zeros_like(dataset.split.inputs), dataset.split.targets)
        trained = CentralizedTraining(
            network(), DatasetSplit(dataset, 1), schedule, seed=seed, device=CPU
        )
        seen = seen_inputs(trained)
        run(trained)
        trained.close()
        return torch.cat(seen)

    small, large, other = noise(0.01, 1), noise(2.0, 1), noise(0.01, 2)
    assert torch.equal(small, large)
    assert len(set(torch.cat([small, other]).flatten().tolist())) == 2 * small.numel()


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_of_a_dataset_sees_the_same_items_every_time(workers: int) -> None:
    trained = on_noisy(0)
    split = DatasetSplit(Noisy(), workers)
    first = trained.evaluate(split)
    torch.randn(5)
    assert trained.evaluate(split) == first
    assert on_noisy(0, seed=7).evaluate(DatasetSplit(Noisy())).loss == first.loss
