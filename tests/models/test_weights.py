"""Weights to start from, and parameters that are not trained."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tunecli.errors import InvalidValueError, RunError, TunecliError
from tunecli.models.build import build_model
from tunecli.models.weights import freeze, load_checkpoint
from tunecli.recipe.networks import MlpModel


def network(seed: int = 0, width: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        return nn.ModuleDict({"body": body, "head": nn.Linear(width, 2)})


def save(model: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def refusal(kind: type[Exception], *arguments: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_checkpoint(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin"])
def test_weights_and_buffers_are_the_files(tmp_path: Path, name: str) -> None:
    other = network(seed=1)
    other["body"][1].running_mean.fill_(3)  # type: ignore[index]
    model = network()
    load_checkpoint(model, save(other, tmp_path / name))
    assert same(model, other)
    assert all(p.requires_grad for p in model.parameters())


def test_what_skip_matches_keeps_its_initialization(tmp_path: Path) -> None:
    path = save(network(seed=1, width=4), tmp_path / "w.pt")
    model, untouched = network(), network()
    load_checkpoint(model, path, skip=("head.*",))
    state = model.state_dict()
    for name, value in network(seed=1).state_dict().items():
        kept = untouched.state_dict()[name] if name.startswith("head") else value
        assert torch.equal(state[name], kept)


def test_skip_lets_other_shapes_missing_and_unknown_names_pass(tmp_path: Path) -> None:
    weights = network(seed=1).state_dict()
    weights["head.weight"] = torch.zeros(7, 4)
    del weights["head.bias"]
    weights["aux.weight"] = torch.zeros(1)
    path = tmp_path / "w.pt"
    torch.save(weights, path)
    model = network()
    load_checkpoint(model, path, skip=("head.*", "aux.*"))
    assert torch.equal(model.state_dict()["body.0.weight"], weights["body.0.weight"])


def test_names_and_shapes_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    weights = network().state_dict()
    complete = dict(weights)
    path = tmp_path / "w.pt"
    del weights["head.bias"]
    torch.save(weights, path)
    said = refusal(InvalidValueError, network(), path)
    assert "has no head.bias; name what is to be left out in model.skip" in said
    torch.save({**complete, "aux.weight": torch.zeros(1)}, path)
    assert "has unknown aux.weight" in refusal(InvalidValueError, network(), path)
    torch.save({**complete, "head.weight": torch.zeros(7, 4)}, path)
    said = refusal(InvalidValueError, network(), path)
    assert "head.weight ((7, 4) in the file, (2, 4) in the model)" in said
    assert str(path) in said
    torch.save({f"more.{i}": torch.zeros(1) for i in range(20)} | complete, path)
    assert "and 12 more" in refusal(InvalidValueError, network(), path)


def test_model_that_does_not_fit_is_left_as_it_was(tmp_path: Path) -> None:
    model = network()
    refusal(InvalidValueError, model, save(network(seed=1, width=5), tmp_path / "w.pt"))
    assert same(model, network())


def test_skip_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "w.pt")
    said = refusal(InvalidValueError, network(), path, skip=("haed.*",))
    assert said.startswith("model.skip must match names of the model but haed.* matches none")
    assert "head.weight" in said


class _Harmful:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / name
    torch.save({"weight": _Harmful()}, path)
    said = refusal(RunError, network(), path)
    assert "is no file of weights" in said
    path.write_bytes(pickle.dumps(_Harmful()))
    assert "is no file of weights" in refusal(RunError, network(), path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert f"{path} cannot be read: No such file" in refusal(RunError, network(), path)
    path.mkdir()
    assert "cannot be read: " in refusal(RunError, network(), path)
    path.rmdir()
    for content in (b"", b"garbage", b"\0" * 100):
        path.write_bytes(content)
        assert "is no file of weights" in refusal(RunError, network(), path)


@pytest.mark.parametrize("content", [3, [torch.zeros(1)], {"state_dict": {"a": torch.zeros(1)}}])
def test_file_of_something_else_than_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    assert "must hold a state_dict" in refusal(InvalidValueError, network(), path)


def test_freeze_leaves_the_rest_to_train() -> None:
    model = network()
    freeze(model, ("body.*",))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    freeze(model, ())
    assert len([p for p in model.parameters() if p.requires_grad]) == 2


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (("boby.*",), "boby.* matches none; there are body.0.weight"),
        (("*",), "freezes every parameter"),
        (("head.*", "body.*"), "freezes every parameter"),
    ],
)
def test_freeze_that_makes_no_sense_is_refused(patterns: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(TunecliError, match=r"model\.freeze") as caught:
        freeze(network(), patterns)
    assert sentence in str(caught.value)


def test_recipes_model_starts_from_its_checkpoint_whatever_the_seed(tmp_path: Path) -> None:
    plain = MlpModel(name="mlp", hidden=(5,))
    shape: dict[str, Any] = {"input_shape": (1, 8, 8), "num_classes": 10}
    path = save(build_model(plain, seed=7, **shape), tmp_path / "w.safetensors")
    model = MlpModel(
        name="mlp",
        hidden=(5,),
        checkpoint=str(path),
        freeze=("*.weight",),
    )
    for seed in (0, 1):
        built = build_model(model, seed=seed, **shape)
        assert same(built, build_model(plain, seed=7, **shape))
        assert [p.requires_grad for p in built.parameters()] == [False, True] * 2
