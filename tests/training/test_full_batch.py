import pytest
import torch
from torch import nn
from torch.nn import functional

from tunecli.data.load import Split
from tunecli.training.full_batch import FullBatchLoss, batch_losses

CPU = torch.device("cpu")


def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(11, 4, generator=generator)
    return Split(inputs, torch.randint(3, (11,), generator=generator))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)).double()


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_batch_losses_add_up_to_the_mean_over_all_samples(batch_size: int) -> None:
    net, samples = model().eval(), split()
    weight = net[0].weight  # type: ignore[index]
    terms = list(batch_losses(net, samples, batch_size=batch_size, like=weight))
    whole = functional.cross_entropy(net(samples.inputs.double()), samples.targets)
    assert len(terms) == -(-11 // batch_size)
    assert torch.stack(terms).sum().item() == pytest.approx(whole.item(), rel=1e-12)


def test_full_batch_loss_is_that_of_evaluation_mode_and_leaves_the_model_alone() -> None:
    net, samples = model().train(), split()
    loss = FullBatchLoss(net, samples, device=CPU, batch_size=4)
    found = loss.evaluate()
    assert loss.evaluate() == found  # nothing is drawn, and the gradient is not added up
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    whole = functional.cross_entropy(net.eval()(samples.inputs.double()), samples.targets)
    assert found == pytest.approx(whole.item(), rel=1e-12)
    gradient = torch.autograd.grad(whole, list(net.parameters()))
    norm = torch.cat([part.flatten() for part in gradient]).norm()
    assert loss.flat.gradient.norm().item() == pytest.approx(norm.item(), rel=1e-12)


def test_full_batch_loss_at_rest_has_no_gradient_there() -> None:
    loss = FullBatchLoss(model(), split(), device=CPU, batch_size=4)
    loss.evaluate()
    loss.at_rest = loss.flat.gradient.clone()
    loss.evaluate()
    assert not loss.flat.gradient.any()


def test_full_batch_loss_moves_along_a_direction_of_the_parameters() -> None:
    net = model()
    loss = FullBatchLoss(net, split(), device=CPU, batch_size=4)
    direction = torch.arange(sum(p.numel() for p in net.parameters()), dtype=torch.float64)
    loss.move(direction, 0.5)
    before = nn.utils.parameters_to_vector(net.parameters())
    after = nn.utils.parameters_to_vector(loss.model.parameters())
    assert torch.allclose(after - before, 0.5 * direction)
