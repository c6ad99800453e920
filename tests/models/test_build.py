from collections.abc import Sequence

import pytest
import torch
from torch import nn

from tunecli.errors import InvalidValueError
from tunecli.models.build import build_model
from tunecli.models.classifiers import CNN, MLP, LogisticRegression
from tunecli.models.decoder import Decoder
from tunecli.models.lenet import LeNet
from tunecli.models.lstm import LSTM
from tunecli.recipe.networks import (
    CnnModel,
    DecoderModel,
    LenetModel,
    LogisticModel,
    LstmModel,
    MlpModel,
)

Model = CnnModel | MlpModel | LogisticModel | LenetModel | DecoderModel | LstmModel
MODELS: list[Model] = [
    LogisticModel(name="logistic"),
    MlpModel(name="mlp", hidden=(5, 7)),
    CnnModel(name="cnn", channels=(4, 6), hidden=9),
    LenetModel(name="lenet"),
]
OF_TEXT: list[Model] = [
    DecoderModel(name="decoder", layers=3, heads=2, width=12, dropout=0.1),
    LstmModel(name="lstm", layers=2, width=9, embedding=5),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
every_model = pytest.mark.parametrize("model", MODELS + OF_TEXT, ids=lambda model: model.name)


def built(model: Model, seed: int = 0, shape: Sequence[int] | None = None) -> nn.Module:
    shape = shape or ((7,) if model in OF_TEXT else (1, 8, 8))
    return build_model(model, input_shape=shape, num_classes=10, seed=seed)


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@each_model
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 9)])
@pytest.mark.parametrize("batch", [1, 5])
def test_logits_have_a_row_per_sample_and_a_column_per_class(
    model: Model, shape: tuple[int, int, int], batch: int
) -> None:
    module = build_model(model, input_shape=shape, num_classes=4, seed=0)
    assert module(torch.randn(batch, *shape)).shape == (batch, 4)


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (MODELS[0], [(10, 64), (10,)]),
        (MODELS[1], [(5, 64), (5,), (7, 5), (7,), (10, 7), (10,)]),
        # 8 × 8 halved twice is 2 × 2, on 6 channels: 24 inputs of the hidden layer
        (
            MODELS[2],
            [(4, 1, 3, 3), (4,), (6, 4, 3, 3), (6,), (9, 24), (9,), (10, 9), (10,)],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Model) else "",
)
def test_parameters_have_the_shapes_of_the_recipe(
    model: Model, shapes: list[tuple[int, ...]]
) -> None:
    assert [tuple(p.shape) for p in built(model).parameters()] == shapes


def test_recipe_names_give_their_classes() -> None:
    classes = [LogisticRegression, MLP, CNN, LeNet, Decoder, LSTM]
    assert [type(built(model)) for model in MODELS + OF_TEXT] == classes


def test_keys_of_models_of_text_reach_them() -> None:
    decoder, lstm = (built(model) for model in OF_TEXT)
    assert isinstance(decoder, Decoder)
    assert decoder.tokens.weight.shape == (10, 12)
    assert decoder.positions.weight.shape == (7, 12)
    assert len(decoder.blocks) == 3
    assert {m.heads for m in decoder.modules() if hasattr(m, "heads")} == {2}
    assert {m.p for m in decoder.modules() if isinstance(m, nn.Dropout)} == {0.1}
    assert isinstance(lstm, LSTM)
    assert (lstm.layers.num_layers, lstm.layers.hidden_size, lstm.layers.input_size) == (2, 9, 5)


@pytest.mark.parametrize("model", MODELS[:2], ids=lambda model: model.name)
def test_features_are_inputs_as_well(model: Model) -> None:
    assert built(model, shape=(5,))(torch.randn(3, 5)).shape == (3, 10)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (MODELS[3], (1, 7, 9), r"data for model lenet must be images of at least 8 × 8 but got 7"),
        (MODELS[3], (64,), r"data for model lenet must be images but got 64 features"),
        (MODELS[2], (64,), r"data for model cnn must be images but got 64 features"),
        (OF_TEXT[0], (1, 8, 8), r"data for model decoder must be text but got shape \(1, 8, 8\)"),
        (OF_TEXT[1], (1, 8, 8), r"data for model lstm must be text but got shape \(1, 8, 8\)"),
    ],
)
def test_data_of_another_shape_are_refused(
    model: Model, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        built(model, shape=shape)


@every_model
def test_same_seed_gives_the_same_weights_whatever_was_drawn_before(model: Model) -> None:
    first = weights(built(model, seed=5))
    torch.manual_seed(99)
    torch.randn(17)
    built(model, seed=6)
    assert torch.equal(first, weights(built(model, seed=5)))
    assert not torch.equal(first, weights(built(model, seed=6)))


@every_model
def test_global_random_state_is_left_alone(model: Model) -> None:
    torch.manual_seed(42)
    torch.randn(3)
    before = torch.get_rng_state()
    built(model)
    assert torch.equal(before, torch.get_rng_state())


@every_model
def test_other_devices_generators_are_not_seeded(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    built(model, seed=5)
    assert seeded == []


@each_model
def test_what_a_sample_gets_does_not_depend_on_its_batch(model: Model) -> None:
    module, inputs = built(model).double(), torch.randn(6, 1, 8, 8, dtype=torch.float64)
    together = module.train()(inputs)
    alone = torch.cat([module(inputs[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together, module.eval()(inputs))


@pytest.mark.parametrize(
    ("shape", "most"), [((1, 8, 8), 3), ((1, 9, 9), 3), ((3, 8, 4), 2), ((1, 32, 32), 5)]
)
def test_as_many_convolutions_as_fit_are_built_and_one_more_is_an_error(
    shape: tuple[int, int, int], most: int
) -> None:
    fits = CnnModel.model_construct(name="cnn", channels=(2,) * most, hidden=3)
    assert built(fits, shape=shape)(torch.zeros(1, *shape)).shape == (1, 10)
    one_more = CnnModel.model_construct(name="cnn", channels=(2,) * (most + 1), hidden=3)
    with pytest.raises(
        InvalidValueError,
        match=rf"model\.channels must be at most {most} convolutions .* but got {most + 1}",
    ):
        built(one_more, shape=shape)
