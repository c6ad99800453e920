"""Whole searches with a person's own model, data, loss, metrics, augmentation and optimizer."""

import itertools
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunecli.errors import InterruptedRunError, InvalidValueError, TunecliError
from tunecli.execution import Interrupt, create_run, open_run
from tunecli.recipe import Recipe, dump_recipe, load_recipe
from tunecli.search import run_search
from tunecli.search.events import Event, TrialFinished
from tunecli.user_code import UserCodeError

CODE = '''\
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


def arrays(regression=False, test=None, dataset=False):
    x = torch.randn(300, 6)
    y = x[:, :2].sum(1) / 2 if regression else (x[:, 0] > 0).long() + (x[:, 1] > 1).long()
    cut = {"train": slice(200), "validation": slice(200, 250), "test": slice(250, 300)}
    parts = {name: (x[part], y[part]) for name, part in cut.items()}
    if dataset:
        parts = {name: torch.utils.data.TensorDataset(*part) for name, part in parts.items()}

    def read():
        with (HERE / "test-is-read").open("a") as file:
            file.write("x")
        return held

    held, parts["test"] = parts["test"], read
    return parts


class Net(nn.Module):
    def __init__(self, outputs=3, fails_at=None, says=None, norm=False):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.head = nn.Linear(8, outputs)
        self.left = fails_at

    def forward(self, x):
        if self.left is not None and self.training:
            self.left -= 1
            if self.left < 0:
                raise ValueError("no more")
        return self.head(self.norm(self.body(x)).tanh())


class Misfit(Net):
    def forward(self, x):
        return self.head(x)


class Installed(nn.Sequential):
    """Whose forward is torch's."""

    def __init__(self):
        super().__init__(nn.Linear(5, 3))


def nan_later():
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        value = nn.functional.cross_entropy(outputs, targets)
        return value * float("nan") if outputs.requires_grad and len(calls) > 12 else value

    return loss


def f1():
    from sklearn.metrics import f1_score

    return lambda outputs, targets: f1_score(targets, outputs.argmax(1), average="macro")


def errors():
    return lambda outputs, targets: (outputs.argmax(1) != targets).float().mean()


def r2():
    def metric(outputs, targets):
        left = (outputs.flatten() - targets).square().sum()
        return 1 - left / (targets - targets.mean()).square().sum()

    return metric


def bad_metric(how):
    def metric(outputs, targets):
        if how == "raises":
            raise LookupError("no such class")
        return {"nan": float("nan"), "vector": outputs}[how]

    return metric


def noise(scale):
    return lambda inputs: inputs + scale * torch.randn_like(inputs)
'''

_numbers = itertools.count()
Make = Callable[..., Recipe]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Recipes beside the code above; an import `CODE:…` is of that."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "mine"
    folder.mkdir()
    name = f"own_search_{next(_numbers)}"
    (folder / f"{name}.py").write_text(CODE)

    def make(*overrides: str, **keys: Any) -> Recipe:
        content = {
            "version": 1,
            "name": "own",
            "model": {"import": "CODE:Net"},
            "data": {"import": "CODE:arrays"},
            "training": {"evaluations": 3},
            "schedule": {"batch_size": 10, "stages": 2, "steps": 20},
            "search": {"grid": [0.01, 0.1, 1.0], "test_seeds": [5], "extend": 0},
            **keys,
        }
        file = folder / "own.yaml"
        file.write_text(json.dumps(content).replace("CODE", name))
        return load_recipe(file, overrides)

    return make


def search(recipe: Recipe, folder: Path, workers: int = 1, **options: Any) -> dict[str, Any]:
    exists = (folder / "recipe.yaml").exists()
    if exists:
        run = open_run(folder, "search")
    else:
        run = create_run("search", "own", dump_recipe(recipe), folder)
    options.setdefault("interrupt", Interrupt())
    options.setdefault("notify", lambda _: None)
    result = run_search(
        load_recipe(run.recipe),  # what a resumed run has
        run,
        device=torch.device("cpu"),
        workers=["cpu"] * workers,
        **options,
    ).to_dict()
    stored: dict[str, Any] = json.loads(json.dumps(result, allow_nan=False))
    return stored


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        varies = ("run", "seconds", "environment")
        return {key: timeless(each) for key, each in value.items() if key not in varies}
    return [timeless(v) for v in value] if isinstance(value, list) else value


EVERYTHING: dict[str, Any] = {
    "model": {"import": "CODE:Net", "freeze": ["body.bias"]},
    "data": {"import": "CODE:arrays", "samples": 200},
    "loss": {"import": "torch.nn:CrossEntropyLoss", "args": {"label_smoothing": 0.1}},
    "augmentation": {"import": "CODE:noise", "args": {"scale": 0.1}},
    "optimizer": {"import": "torch.optim:SGD", "args": {"momentum": 0.5}},
    "metrics": {"f1": {"import": "CODE:f1", "perfect": 1.0}},
    "training": {"evaluations": 3, "micro_batch_size": 7},
    "search": {"grid": [0.01, 0.1, 1.0], "test_seeds": [5, 6], "metric": "f1", "extend": 0},
}


def test_everything_of_ones_own_is_searched_and_tested(make: Make, tmp_path: Path) -> None:
    result = search(make(**EVERYTHING), tmp_path / "run")
    assert result["exit_code"] in (0, 4)
    assert result["metric"] == "f1"
    assert 0.5 < result["test"]["mean"] <= 1
    assert any("the learning rate alone" in warning for warning in result["warnings"])
    # the final trainings alone read it, once each
    assert (tmp_path / "mine" / "test-is-read").read_text() == "xx"


def test_search_in_workers_is_the_search_in_one_process(make: Make, tmp_path: Path) -> None:
    recipe = make(**EVERYTHING)
    alone = search(recipe, tmp_path / "alone")
    together = search(recipe, tmp_path / "together", workers=2)
    for key in ("learning_rate", "stop", "schedule", "test", "metric"):
        assert timeless(together[key]) == timeless(alone[key])


def test_search_is_gone_on_with_from_another_folder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make(**EVERYTHING)
    whole = search(recipe, tmp_path / "whole")
    interrupt = Interrupt()

    def stop(event: Event) -> None:
        if isinstance(event, TrialFinished):
            interrupt.signal_number = signal.SIGINT

    with pytest.raises(InterruptedRunError):
        search(recipe, tmp_path / "run", interrupt=interrupt, notify=stop)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert timeless(search(recipe, tmp_path / "run")) == timeless(whole)


def test_search_that_finds_nothing_never_reads_the_test_set(make: Make, tmp_path: Path) -> None:
    result = search(make("search.grid=[1e-9, 2e-9]"), tmp_path / "run")
    assert result["test"] is None
    assert result["exit_code"] == 1
    assert not (tmp_path / "mine" / "test-is-read").exists()


def test_metric_can_be_minimized(make: Make, tmp_path: Path) -> None:
    section = {"import": "CODE:errors", "maximize": False, "perfect": 0, "baseline": 0.6}
    result = search(make("search.metric=errors", metrics={"errors": section}), tmp_path / "run")
    for trial in (*result["trials"], *result["final"]):
        assert set(trial["measured"]["metrics"]) == {"errors"}
    accurate = search(make(), tmp_path / "accurate")
    assert result["learning_rate"] == accurate["learning_rate"]
    assert result["test"]["mean"] == pytest.approx(1 - accurate["test"]["mean"])


@pytest.mark.parametrize("metric", ["loss", "r2"])
def test_regression_is_searched_by_its_loss_or_by_a_metric(
    make: Make, tmp_path: Path, metric: str
) -> None:
    recipe = make(
        f"search.metric={metric}",
        "schedule.steps=60",
        model={"import": "CODE:Net", "args": {"outputs": 1}},
        data={"import": "CODE:arrays", "args": {"regression": True}},
        loss={"name": "mse"},
        metrics={"r2": {"import": "CODE:r2", "perfect": 1.0, "baseline": 0.0}},
    )
    result = search(recipe, tmp_path / "run")
    assert result["exit_code"] in (0, 4)
    mean = result["test"]["mean"]
    assert mean < 0.1 if metric == "loss" else mean > 0.8


@pytest.mark.filterwarnings("ignore:Using a target size")  # torch's, of MSELoss
def test_accuracy_of_a_regression_is_refused_with_what_to_write(make: Make, tmp_path: Path) -> None:
    recipe = make(
        model={"import": "CODE:Net", "args": {"outputs": 1}},
        data={"import": "CODE:arrays", "args": {"regression": True}},
        loss={"import": "torch.nn:MSELoss"},
    )
    with pytest.raises(InvalidValueError, match="write `metric: loss`"):
        search(recipe, tmp_path / "run")


def test_dataset_is_searched_like_its_tensors(make: Make, tmp_path: Path) -> None:
    tensors = search(make(), tmp_path / "tensors")
    section = {"import": "CODE:arrays", "args": {"dataset": True}, "workers": 0}
    items = search(make(data=section), tmp_path / "items")
    for key in ("learning_rate", "test"):
        assert items[key] == tensors[key]


def test_loss_that_becomes_nan_is_divergence(make: Make, tmp_path: Path) -> None:
    result = search(make(loss={"import": "CODE:nan_later"}), tmp_path / "run")
    assert result["exit_code"] == 5
    assert {trial["state"] for trial in result["trials"]} == {"diverged"}


def test_batch_norm_in_micro_batches_is_a_warning_of_the_result(make: Make, tmp_path: Path) -> None:
    recipe = make("training.micro_batch_size=5", model={"import": "CODE:Net", "args": {"norm": 1}})
    result = search(recipe, tmp_path / "run")
    assert any(warning.startswith("batch norm (norm)") for warning in result["warnings"])


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("nan", "untrained model's validation mine must be finite but got nan"),
        ("vector", r"metrics.mine must return a number but got a Tensor of shape \(50, 3\)"),
        ("raises", r"metrics.mine raised LookupError: no such class at .*\.py:\d+; mend it"),
    ],
)
def test_metric_that_is_none_ends_the_search_with_a_sentence(
    make: Make, tmp_path: Path, how: str, sentence: str
) -> None:
    section = {"import": "CODE:bad_metric", "args": {"how": how}}
    with pytest.raises(TunecliError, match=sentence):
        search(make(metrics={"mine": section}), tmp_path / "run")


def line_of(text: str) -> int:
    return CODE[: CODE.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("model", "error", "at", "workers"),
    [
        ({"import": "CODE:Net", "args": {"fails_at": 0}}, "ValueError: no more", "raise Value", 1),
        ({"import": "CODE:Net", "args": {"fails_at": 15}}, "ValueError: no more", "raise Value", 2),
        ({"import": "CODE:Misfit"}, "RuntimeError: mat1 and mat2", "return self.head(x)\n", 1),
    ],
    ids=["at once", "later, in workers", "shapes"],
)
def test_error_in_a_model_is_told_with_its_line_and_logged_with_its_traceback(
    make: Make, tmp_path: Path, model: dict[str, Any], error: str, at: str, workers: int
) -> None:
    with pytest.raises(UserCodeError) as caught:
        search(make(model=model), tmp_path / "run", workers=workers)
    said = str(caught.value)
    assert f"raised {error}" in said
    assert f".py:{line_of(at)}; mend it" in said
    logs = [file.read_text() for file in (tmp_path / "run").rglob("log.txt")]
    assert any("Traceback" in log and error in log for log in logs)


def test_error_inside_an_installed_package_is_still_the_recipes(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserCodeError, match=r"the recipe's code, in .*, raised RuntimeError: mat1"):
        search(make(model={"import": "CODE:Installed"}), tmp_path / "run")


def test_own_model_that_is_partly_frozen_is_trained_asynchronously(
    make: Make, tmp_path: Path
) -> None:
    recipe = make(
        "training.algorithm=asynchronous",
        "training.asynchronous={num_workers: 2}",
        "training.weight_decay=0.01",
        "search.grid=[0.5, 1.0]",
        "schedule.steps=60",
        model={"import": "CODE:Net", "freeze": ["body.*"]},
    )
    result = search(recipe, tmp_path / "run")
    assert result["test"]["mean"] > 0.5
