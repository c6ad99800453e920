import torch

from tunecli.models.lstm import LSTM


def lstm(layers: int = 2) -> LSTM:
    torch.manual_seed(0)
    return LSTM(vocabulary=256, layers=layers, width=12, embedding=7).double()


def windows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 10), generator=generator).to(torch.uint8)


def test_parameters_have_the_shapes_of_the_recipe() -> None:
    shapes = {name: tuple(p.shape) for name, p in lstm(layers=1).named_parameters()}
    assert shapes == {
        "tokens.weight": (256, 7),
        "layers.weight_ih_l0": (48, 7),  # four gates of width 12
        "layers.weight_hh_l0": (48, 12),
        "layers.bias_ih_l0": (48,),
        "layers.bias_hh_l0": (48,),
        "output.weight": (256, 12),
        "output.bias": (256,),
    }
    assert sum("weight_hh" in name for name, _ in lstm(layers=3).named_parameters()) == 3


def test_a_byte_changes_nothing_before_itself_and_something_from_there_on() -> None:
    model, before = lstm(), windows()
    after = before.clone()
    after[:, 4] += 1
    difference = (model(after) - model(before)).abs().amax(dim=(0, 2))
    assert difference[:4].max() == 0
    assert difference[4:].min() > 0


def test_every_window_begins_anew() -> None:
    model, tokens = lstm(), windows()
    first = model(tokens)
    alone = torch.cat([model(tokens[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(first, alone)
    assert torch.equal(first, model(tokens))
