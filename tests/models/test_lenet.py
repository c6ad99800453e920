import pytest
import torch

from tunecli.models.lenet import LeNet


@pytest.mark.parametrize(
    ("shape", "features"),
    [((1, 28, 28), 16 * 7 * 7), ((3, 32, 32), 16 * 8 * 8), ((1, 8, 8), 16 * 4), ((2, 9, 15), 96)],
)
def test_lenet_has_lenet5s_widths_on_what_two_poolings_leave(
    shape: tuple[int, int, int], features: int
) -> None:
    model = LeNet(shape, 10)
    assert [tuple(p.shape) for p in model.parameters() if p.ndim > 1] == [
        (6, shape[0], 5, 5),
        (16, 6, 5, 5),
        (120, features),
        (84, 120),
        (10, 84),
    ]
    assert model(torch.randn(3, *shape)).shape == (3, 10)
