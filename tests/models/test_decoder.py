import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunecli.models.decoder import Decoder

V, T = 256, 12


def decoder(layers: int = 2, heads: int = 4, width: int = 16, dropout: float = 0.0) -> Decoder:
    torch.manual_seed(0)
    return Decoder(
        vocabulary=V, context=T, layers=layers, heads=heads, width=width, dropout=dropout
    )


def windows(batch: int = 3, length: int = T, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, V - 2, (batch, length), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("changed", [1, 5, T - 1])
def test_a_byte_changes_nothing_before_itself_and_something_from_there_on(changed: int) -> None:
    model = decoder().double()
    before = windows()
    after = before.clone()
    after[:, changed] += 1
    difference = (model(after) - model(before)).abs().amax(dim=(0, 2))
    assert difference[:changed].max() == 0
    assert difference[changed:].min() > 0


def test_positions_count() -> None:
    """Without them, a window of one byte repeated would look the same everywhere."""
    logits = decoder()(torch.zeros(1, T, dtype=torch.uint8))[0]
    assert (logits[1:] - logits[:-1]).abs().amax(dim=1).min() > 0


@pytest.mark.parametrize(("layers", "heads", "width"), [(1, 1, 8), (2, 4, 16), (3, 2, 20)])
def test_parameters_are_as_many_as_the_formula_says(layers: int, heads: int, width: int) -> None:
    count = sum(p.numel() for p in decoder(layers, heads, width).parameters())
    assert count == V * width + T * width + layers * (12 * width**2 + 13 * width) + 2 * width


def test_output_layer_is_the_embedding() -> None:
    model = decoder()
    tokens = windows()
    before = model(tokens)
    with torch.no_grad():  # a byte that does not occur: only its logit can change
        model.tokens.weight[255] = 0
    assert 255 not in tokens
    after = model(tokens)
    assert torch.equal(after[..., :255], before[..., :255])
    assert after[..., 255].abs().max() == 0
    assert not any("output" in name and "blocks" not in name for name in model.state_dict())


def test_loss_begins_near_the_logarithm_of_the_vocabulary() -> None:
    tokens = windows(batch=16, length=T)
    logits = decoder(width=64)(tokens)
    loss = functional.cross_entropy(logits.flatten(0, 1), tokens.flatten().flip(0).long())
    assert loss.item() == pytest.approx(math.log(V), abs=0.1)


def test_initialization_is_gpt2s() -> None:
    model = decoder(layers=8, width=64)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert p.abs().max() == 0, name
        elif "norm" in name:
            assert torch.equal(p, torch.ones_like(p)), name
        else:
            residual = "attention.output" in name or "contract" in name
            expected = 0.02 / math.sqrt(2 * 8) if residual else 0.02
            assert p.std().item() == pytest.approx(expected, rel=0.1), name


def test_blocks_are_those_of_the_slow_reference() -> None:
    """Each head's softmax written out, in double precision."""
    model = decoder(layers=1, heads=2, width=8).double()
    with torch.no_grad():
        for p in model.parameters():  # biases and norms as well, so that a missing one shows
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    tokens = windows(batch=2)
    (block,) = model.blocks
    hidden = model.tokens.weight[tokens.long()] + model.positions.weight
    normed = block.get_submodule("attention_norm")(hidden)
    split = block.get_submodule("attention.inputs")(normed).split(8, dim=-1)
    heads = []
    for head in range(2):
        q, k, v = (part[..., 4 * head : 4 * head + 4] for part in split)
        scores = q @ k.transpose(1, 2) / math.sqrt(4)
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(dim=-1) @ v)
    hidden = hidden + block.get_submodule("attention.output")(torch.cat(heads, dim=-1))
    inner = block.get_submodule("expand")(block.get_submodule("mlp_norm")(hidden))
    inner = nn.GELU("tanh")(inner)
    hidden = hidden + block.get_submodule("contract")(inner)
    expected = model.norm(hidden) @ model.tokens.weight.T
    torch.testing.assert_close(model(tokens), expected)


def test_dropout_works_in_training_and_rests_in_evaluation() -> None:
    tokens = windows()
    without, dropping = decoder(), decoder(dropout=0.5)
    assert torch.equal(without.train()(tokens), without.eval()(tokens))
    assert not torch.equal(dropping.train()(tokens), dropping.train()(tokens))
    assert torch.equal(dropping.eval()(tokens), without.eval()(tokens))


def test_what_a_window_gets_does_not_depend_on_its_batch() -> None:
    model, tokens = decoder().double(), windows(batch=4)
    alone = torch.cat([model(tokens[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(model(tokens), alone)


def test_shorter_windows_than_the_context_are_its_beginning() -> None:
    model, tokens = decoder().double(), windows()
    torch.testing.assert_close(model(tokens[:, :5]), model(tokens)[:, :5])
