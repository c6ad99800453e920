from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunecli.recipe import Recipe
from tunecli.training.feasible import problems

Said = Callable[..., list[tuple[str, str]]]
SCHEDULE = {"batch_size": 8, "steps": 10}
SEARCH = {"grid": [0.1, 0.2], "metric": "loss"}


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """What is said of a recipe with these sections: dotted keys and sentences."""
    rng = np.random.default_rng(0)
    labels, numbers = np.arange(40) % 4, rng.normal(size=40)
    kinds: dict[str, dict[str, Any]] = {
        "images": {"x": rng.normal(size=(40, 1, 16, 16)), "y": labels},
        "small": {"x": rng.normal(size=(40, 1, 7, 9)), "y": labels},
        "features": {"x": rng.normal(size=(40, 5)), "y": labels},
        "one_class": {"x": rng.normal(size=(40, 5)), "y": labels * 0},
        "numbers": {"x": rng.normal(size=(40, 5)), "y": numbers},
    }
    for name, arrays in kinds.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "text").write_bytes(bytes(3000))

    def ask(data: Any, model: Any, **sections: Any) -> list[tuple[str, str]]:
        if isinstance(data, str):
            kind = "text" if data == "text" else "npz"
            data = {
                "name": kind,
                "path": str(tmp_path / (data if kind == "text" else f"{data}.npz")),
            }
        if isinstance(model, str):
            model = {"name": model}
        recipe = Recipe.model_validate(
            {
                "version": 1,
                "name": "x",
                "data": data,
                "model": model,
                "schedule": SCHEDULE,
                "search": SEARCH,
            }
            | sections
        )
        return [(".".join(map(str, path)), sentence) for path, sentence in problems(recipe)]

    return ask


MSE = {"loss": {"name": "mse"}}


@pytest.mark.parametrize(
    ("data", "model", "sections"),
    [
        ("images", "cnn", {}),
        ("images", "lenet", {}),
        ("images", "mlp", {}),
        ("images", "logistic", {}),
        ("small", "cnn", {}),
        ("features", "mlp", {}),
        ("features", "logistic", {}),
        ("features", "mlp", {"search": {"grid": [0.1, 0.2]}}),
        ("numbers", "mlp", MSE),
        ("text", "decoder", {}),
        ("text", "lstm", {}),
        ({"name": "import", "import": "a:b"}, "decoder", {}),
        ({"name": "import", "import": "a:b"}, "cnn", {"schedule": {"batch_size": 8, "epochs": 3}}),
        ("features", {"name": "import", "import": "a:b"}, {}),
    ],
)
def test_what_fits_is_not_complained_about(
    said: Said, data: Any, model: Any, sections: dict[str, Any]
) -> None:
    assert said(data, model, **sections) == []


@pytest.mark.parametrize(
    ("data", "model", "sections", "key", "sentence"),
    [
        (
            "images",
            "decoder",
            {},
            "model.name",
            (
                "model.name must be cnn, lenet, logistic or mlp for data that are no text but got "
                "decoder; change it, or the data (npz)"
            ),
        ),
        (
            "text",
            "cnn",
            {},
            "model.name",
            (
                "model.name must be decoder or lstm for text but got cnn; change it, or the data "
                "(text)"
            ),
        ),
        (
            "features",
            "cnn",
            {},
            "model.name",
            "data for model cnn must be images but got 5 features; take model mlp or logistic",
        ),
        (
            "small",
            "lenet",
            {},
            "model.name",
            (
                "data for model lenet must be images of at least 8 × 8 but got 7 × 9; "
                "enlarge them or take model cnn or mlp"
            ),
        ),
        (
            "small",
            {"name": "cnn", "channels": [2, 2, 2]},
            {},
            "model.channels",
            (
                "model.channels must have at most 2 entries for images of 7 × 9 but got 3; "
                "each convolution halves the image"
            ),
        ),
        (
            "one_class",
            "mlp",
            {},
            "data",
            "the data must have at least two classes but got 1; nothing is to be learned",
        ),
        (
            "numbers",
            "mlp",
            {},
            "loss",
            (
                "loss.name must be mse, or your own, for targets that are numbers but got "
                "cross_entropy; if they are classes, store them as integers"
            ),
        ),
        (
            "features",
            "mlp",
            MSE,
            "loss",
            (
                "loss.name must be cross_entropy for targets that are classes but got mse; "
                "for a regression, store the targets as floats"
            ),
        ),
        (
            "text",
            "decoder",
            MSE,
            "loss",
            (
                "loss.name must be cross_entropy for targets that are tokens but got mse; "
                "for a regression, store the targets as floats"
            ),
        ),
        (
            "numbers",
            "mlp",
            MSE | {"search": {"grid": [0.1, 0.2]}},
            "search.metric",
            (
                "search.metric must be loss, or one of metrics, for targets that are numbers "
                "but got accuracy; write `metric: loss`"
            ),
        ),
        (
            "features",
            "mlp",
            {"schedule": {"batch_size": 25, "steps": 10, "stages": 1}},
            "schedule.batch_size",
            "schedule.batch_size must be ≤ 24, the size of the training set, but got 25; lower it",
        ),
        (
            "text",
            {"name": "decoder", "width": 6, "heads": 2},
            {"schedule": {"batch_size": 100, "steps": 10}},
            "schedule.batch_size",
            "schedule.batch_size must be ≤ 18, the size of the training set, but got 100; lower it",
        ),
        (
            "features",
            "mlp",
            {"schedule": {"batch_size": 2, "steps": 10, "stages": 9}},
            "schedule",
            None,
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(
    said: Said, data: Any, model: Any, sections: dict[str, Any], key: str, sentence: str | None
) -> None:
    ((at, complaint),) = said(data, model, **sections)
    assert at == key
    assert sentence is None or complaint == sentence


def test_data_that_are_not_there_are_named(said: Said) -> None:
    ((at, complaint),) = said({"name": "npz", "path": "/nowhere.npz"}, "mlp")
    assert at == "data"
    assert "there is no /nowhere.npz" in complaint


def test_budget_of_a_script_in_epochs_needs_the_size_of_its_data() -> None:
    recipe: dict[str, Any] = {
        "version": 1,
        "name": "x",
        "command": ["{python}", "-c", "pass"],
        "search": {"grid": [0.1, 0.2]},
        "schedule": {"batch_size": 8, "steps": 10},
    }
    assert list(problems(Recipe.model_validate(recipe))) == []
    recipe["schedule"] = {"batch_size": 8, "epochs": 10}
    ((path, sentence),) = problems(Recipe.model_validate(recipe))
    assert path == ("schedule", "epochs")
    assert "must stand beside script.samples, the size of the training set" in sentence
    recipe["script"] = {"samples": 100}
    assert list(problems(Recipe.model_validate(recipe))) == []


OWN = {"import": "nets.py:make"}
ASYNCHRONOUS = {"algorithm": "asynchronous", "asynchronous": {"num_workers": 4}}


@pytest.mark.parametrize(
    ("sections", "key", "words"),
    [
        ({"training": ASYNCHRONOUS, "augmentation": OWN}, "augmentation", "asynchronous"),
        ({"training": ASYNCHRONOUS, "optimizer": OWN}, "optimizer", "asynchronous"),
        ({"training": ASYNCHRONOUS, "metrics": {"f1": OWN}}, "metrics", "asynchronous"),
        (
            {"training": ASYNCHRONOUS | {"micro_batch_size": 2}},
            "training.micro_batch_size",
            "asynchronous",
        ),
        (
            {"training": ASYNCHRONOUS, "loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
            "loss",
            "label smoothing",
        ),
        (
            {"training": {"reset_momentum": True}, "optimizer": OWN},
            "training.reset_momentum",
            "buffers are not known",
        ),
        (
            {"training": {"weight_decay": 0.1}, "optimizer": OWN},
            "training.weight_decay",
            "give it to the optimizer",
        ),
        ({"optimizer": OWN | {"args": {"lr": 0.1}}}, "optimizer.args", "what is searched"),
    ],
)
def test_keys_that_would_be_ignored_are_named(
    said: Said, sections: dict[str, Any], key: str, words: str
) -> None:
    ((found, sentence),) = said("features", "mlp", **sections)
    assert found == key
    assert words in sentence


@pytest.mark.parametrize(
    "sections",
    [
        {"optimizer": OWN | {"args": {"weight_decay": 0.1}}},
        {"training": ASYNCHRONOUS | {"weight_decay": 0.1, "reset_momentum": True}},
        {"training": {"weight_decay": 0.1, "micro_batch_size": 3}, "augmentation": OWN},
        {"loss": OWN | {"name": "import"}, "metrics": {"f1": OWN}},
    ],
)
def test_own_code_that_is_known_is_not_complained_about_and_not_run(
    said: Said, sections: dict[str, Any]
) -> None:
    assert said("features", "mlp", **sections) == []


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"search": SEARCH | {"strategy": "probe"}}, ("search", "strategy")),
        ({"training": ASYNCHRONOUS}, ("command",)),
    ],
)
def test_what_a_script_cannot_be_told_is_named(keys: dict[str, Any], path: tuple[str, ...]) -> None:
    recipe = Recipe.model_validate(
        {
            "version": 1,
            "name": "x",
            "command": ["{python}", "-c", "pass", "{learning_rate}"],
            "schedule": SCHEDULE,
            "search": SEARCH,
        }
        | keys
    )
    assert [found for found, _ in problems(recipe)] == [path]


@pytest.mark.parametrize(
    ("command", "at", "says"),
    [
        (["no-such-program"], ("command", 0), "on PATH but no-such-program is not; write its who"),
        (["python9.99", "-V"], ("command", 0), 'or "{python}": the one that tunecli runs'),
        (["./missing.sh"], ("command", 0), "there is no"),
        (["{python}", "missing.py"], ("command", 1), "must be a script but there is no"),
        (["{python}", "-u", "missing.py", "{seed}"], ("command", 2), "must be a script but there"),
    ],
)
def test_program_that_is_not_there_is_found_before_a_run(
    tmp_path: Path, command: list[str], at: tuple[str | int, ...], says: str
) -> None:
    ((path, sentence),) = problems(_scripted(command, tmp_path))
    assert path == at
    assert says in sentence


@pytest.mark.parametrize(
    "command",
    [
        ["{python}", "there.py", "missing.py"],
        ["./there.py"],
        ["{python}", "-m", "missing.py"],
        ["{python}", "-c", "x", "missing.py"],
        ["{python}", "{folder}/missing.py"],
        ["{python}", "-V"],
        ["{python}"],
        ["sh", "missing.py"],
        ["{folder}/program"],
    ],
)
def test_program_that_may_be_there_is_not_complained_about(
    tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "there.py").touch()
    assert list(problems(_scripted(command, tmp_path))) == []


def test_folder_of_a_script_must_be_there(tmp_path: Path) -> None:
    ((path, sentence),) = problems(_scripted(["{python}", "x.py"], tmp_path / "gone"))
    assert path == ("script", "folder")
    assert "gone; make it" in sentence


def _scripted(command: list[str], folder: Path) -> Recipe:
    return Recipe.model_validate(
        {
            "version": 1,
            "name": "x",
            "command": command,
            "script": {"folder": str(folder)},
            "schedule": {"batch_size": 8, "steps": 10},
            "search": {"grid": [0.1, 0.2]},
        }
    )


def test_weights_to_start_from_must_be_there(said: Said, tmp_path: Path) -> None:
    model = {"name": "mlp", "checkpoint": str(tmp_path / "nothere.pt")}
    ((key, sentence),) = said("features", model)
    assert key == "model.checkpoint"
    assert sentence.endswith("nothere.pt is none; check the path")
    (tmp_path / "nothere.pt").touch()
    assert said("features", model) == []
