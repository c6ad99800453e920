"""A person's own network: what builds it, and what its initialization depends on."""

import itertools
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunecli.errors import InvalidValueError
from tunecli.models.build import build_model
from tunecli.recipe.networks import AnyModel, ImportedModel, MlpModel
from tunecli.user_code import UserCodeError

CODE = """\
import random

import numpy as np
import torch
from torch import nn


def net(width=4):
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))
    with torch.no_grad():
        made[1].bias.fill_(random.random())
        made[2].bias.copy_(torch.from_numpy(np.random.rand(10)))
    return made


def wrong(what):
    made = {"class": nn.Linear, "none": None, "list": [nn.Linear(1, 1)], "flat": nn.Flatten()}
    return made[what]


def broken():
    return nn.Linear(-1)
"""
_numbers = itertools.count()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_nets_{next(_numbers)}.py"
    (tmp_path / name).write_text(CODE)

    def section(attribute: str, **keys: Any) -> ImportedModel:
        found = {"import": f"{name}:{attribute}", "folder": str(tmp_path), **keys}
        return ImportedModel.model_validate(found)

    return section


def built(model: AnyModel, seed: int = 0, num_classes: int = 10) -> torch.nn.Module:
    return build_model(model, input_shape=(1, 8, 8), num_classes=num_classes, seed=seed)


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_initialization_depends_on_the_seed_alone_whatever_draws_it(own: Any) -> None:
    model = own("net", args={"width": 6})
    first = weights(built(model, seed=5))
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002  # as a person's code may
    before = random.getstate(), torch.get_rng_state()
    second = weights(built(model, seed=5))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.equal(first, second)
    other = weights(built(model, seed=6))
    assert (first != other).sum() > len(first) - 10  # the biases of a layer are one number


def test_patterns_hold_for_its_names(own: Any, tmp_path: Path) -> None:
    checkpoint = tmp_path / "w.pt"
    torch.save(built(own("net"), seed=3).state_dict(), checkpoint)
    section = own("net", checkpoint=str(checkpoint), skip=["2.*"], freeze=["1.*"])
    found, saved, fresh = (built(own("net"), seed) for seed in (0, 3, 0))
    found = built(section, seed=0)
    for name, parameter in found.named_parameters():
        source = fresh if name.startswith("2.") else saved
        assert torch.equal(parameter, source.get_parameter(name))
        assert parameter.requires_grad == name.startswith("2.")


@pytest.mark.parametrize(("what", "kind"), [("class", "type"), ("none", "NoneType"), ("list",) * 2])
def test_what_is_no_module_is_refused(own: Any, what: str, kind: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"must build a torch.nn.Module but .* {kind};"):
        built(own("wrong", args={"what": what}))


def test_network_without_parameters_is_refused(own: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"parameters to train but got .* built Flatten"):
        built(own("wrong", args={"what": "flat"}))


def test_error_of_the_factory_names_its_line(own: Any) -> None:
    with pytest.raises(UserCodeError, match=r"model raised TypeError: .* at .*own_nets_\d+\.py:22"):
        built(own("broken"))


def test_named_model_needs_to_know_its_outputs() -> None:
    with pytest.raises(InvalidValueError, match=r"data\.num_classes must be known .* add it"):
        built(MlpModel(name="mlp"), num_classes=0)
