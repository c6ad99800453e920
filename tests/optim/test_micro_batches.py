import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tunecli.errors import InvalidValueError
from tunecli.optim.micro_batches import backward_in_micro_batches, batch_norm_layers

SAMPLES = 13


def network(*between: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 4), *between, nn.Tanh(), nn.Linear(4, 3)).double()


def batch(samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(3, (samples,), generator=generator)


def gradients(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def at_once(model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    model.zero_grad()
    mean: Tensor = loss(model(inputs), targets)
    mean.backward()  # type: ignore[no-untyped-call]
    return mean.detach()


@given(st.integers(1, 13), st.integers(1, 20))
def test_gradient_and_loss_are_the_full_batchs(samples: int, micro_batch_size: int) -> None:
    model, loss = network(), nn.CrossEntropyLoss()
    inputs, targets = batch(samples)
    mean = at_once(model, loss, inputs, targets)
    expected = gradients(model)
    model.zero_grad()
    found = backward_in_micro_batches(model, loss, inputs, targets, micro_batch_size)
    assert not found.requires_grad
    assert found.shape == ()
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(model), expected, rtol=0, atol=1e-12)


def test_gradient_is_added_to_what_is_there() -> None:
    model, loss = network(), nn.MSELoss()
    inputs, _ = batch()
    targets = torch.zeros(SAMPLES, 3, dtype=torch.float64)
    at_once(model, loss, inputs, targets)
    once = gradients(model)
    backward_in_micro_batches(model, loss, inputs, targets, 4)
    torch.testing.assert_close(gradients(model), 2 * once, rtol=0, atol=1e-12)


def test_no_piece_is_larger_than_asked_and_all_samples_are_seen_once() -> None:
    model = network()
    seen: list[Tensor] = []
    model.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    inputs, targets = batch()
    backward_in_micro_batches(model, nn.CrossEntropyLoss(), inputs, targets, 5)
    assert [len(piece) for piece in seen] == [5, 5, 3]
    assert torch.equal(torch.cat(seen), inputs)


def test_batch_norm_is_named_once_for_the_same_layers() -> None:
    inputs, targets = batch(12)
    model, loss = network(nn.BatchNorm1d(4)), nn.CrossEntropyLoss()
    at_once(model, loss, inputs, targets)
    expected = gradients(model)
    model.zero_grad()
    with pytest.warns(UserWarning, match=r"batch norm .*\(1\); use group norm") as caught:
        backward_in_micro_batches(model, loss, inputs, targets, 4)
    assert caught[0].filename == __file__
    assert not torch.allclose(gradients(model), expected)  # so the warning is right
    # warnings are errors: neither this model nor that of the next trial is told of again
    for again in (model, network(nn.BatchNorm1d(4))):
        backward_in_micro_batches(again, loss, inputs, targets, 4)
    with pytest.warns(UserWarning, match=r"\(0\.1\)"):
        backward_in_micro_batches(
            nn.Sequential(network(nn.BatchNorm1d(4))), loss, inputs, targets, 4
        )


def test_batch_norm_is_no_trouble_in_one_piece_or_in_evaluation_mode() -> None:
    inputs, targets = batch(12)
    model, loss = network(nn.BatchNorm1d(4)), nn.CrossEntropyLoss()
    backward_in_micro_batches(model, loss, inputs, targets, 12)
    model.eval()
    at_once(model, loss, inputs, targets)
    expected = gradients(model)
    model.zero_grad()
    backward_in_micro_batches(model, loss, inputs, targets, 5)
    torch.testing.assert_close(gradients(model), expected, rtol=0, atol=1e-12)


def test_batch_norm_layers_are_those_that_look_at_the_batch() -> None:
    model = nn.Sequential(
        nn.BatchNorm1d(4),
        nn.Sequential(nn.LayerNorm(4), nn.SyncBatchNorm(4), nn.GroupNorm(2, 4)),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm1d(4),
    )
    assert batch_norm_layers(model) == ["0", "1.1", "2"]
    model[0].eval()
    assert batch_norm_layers(model) == ["1.1", "2"]
    assert batch_norm_layers(model.eval()) == ["2"]


def test_loss_weighted_by_class_is_warned_of() -> None:
    inputs, targets = batch()
    weight = torch.tensor([1.0, 2.0, 30.0], dtype=torch.float64)
    model, loss = network(), nn.CrossEntropyLoss(weight=weight)
    at_once(model, loss, inputs, targets)
    expected = gradients(model)
    model.zero_grad()
    with pytest.warns(UserWarning, match="mean weighted by class"):
        backward_in_micro_batches(model, loss, inputs, targets, 4)
    assert not torch.allclose(gradients(model), expected)


class Counting(nn.Module):
    """Stands for a model that exchanges gradients, as `DistributedDataParallel` does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.exchanging = True
        self.forwards: list[bool] = []

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        self.exchanging = False
        yield
        self.exchanging = True

    def forward(self, inputs: Tensor) -> Any:
        self.forwards.append(self.exchanging)
        return self.inner(inputs)


def test_gradients_are_exchanged_with_the_last_piece_only() -> None:
    model = Counting(network())
    backward_in_micro_batches(model, nn.CrossEntropyLoss(), *batch(), 4)
    assert model.forwards == [False, False, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"micro_batch_size": 0}, "micro_batch_size must be ≥ 1 but got 0"),
        ({"inputs": torch.empty(0, 5)}, "inputs must be at least one sample"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, r"targets must be as many as inputs \(13"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, "must be 'mean' but got 'sum'"),
        ({"loss": lambda outputs, _: outputs.mean(1)}, r"loss must be one number.*\(4,\)"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    inputs, targets = batch()
    arguments: dict[str, Any] = {
        "model": network(),
        "loss": nn.CrossEntropyLoss(),
        "inputs": inputs,
        "targets": targets,
        "micro_batch_size": 4,
    }
    with pytest.raises(InvalidValueError, match=message):
        backward_in_micro_batches(**arguments | change)


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backward_in_micro_batches(network(nn.LayerNorm(4)), nn.CrossEntropyLoss(), *batch(), 4)
