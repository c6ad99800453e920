from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.recipe import Recipe, dump_recipe, load_recipe, shipped_recipes
from tunecli.recipe.document import read_yaml

SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)
POSITIVE = st.floats(0, 1e300, exclude_min=True)
WIDTHS = st.integers(1, 10**6)
SEEDS = st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True)


def section(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


DELAYS = st.sampled_from(
    [
        {"delay": {"name": "clock", "speeds": [1, 0.1]}},
        {"delay": {"name": "uniform", "low": 1, "high": 3}},
        {"delay": {"name": "histogram", "counts": [0, 2, 1.5]}, "momentum_kind": "shifted"},
        {"engine": "processes", "num_workers": 4, "delay": {"name": "geometric", "mean": 3.5}},
        {"num_workers": 16, "staleness_aware": True, "scaling": "mean"},
    ]
)
ALGORITHMS = st.just({"algorithm": "centralized"}) | DELAYS.map(
    lambda keys: {"algorithm": "asynchronous", "asynchronous": keys}
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    decay = draw(SHARES)
    seeds = draw(SEEDS)
    data: dict[str, Any] = {
        "version": 1,
        "name": draw(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)),
        "model": draw(
            section(channels=st.lists(WIDTHS, min_size=1, max_size=4), hidden=WIDTHS).map(
                lambda keys: {"name": "cnn", **keys}
            )
            | st.lists(WIDTHS, min_size=1).map(lambda hidden: {"name": "mlp", "hidden": hidden})
            | st.just({"name": "logistic"})
        ),
        "data": {"name": "digits", "validation": draw(st.floats(1e-300, 0.75))},
        "training": {
            **draw(ALGORITHMS),
            **draw(
                section(
                    weight_decay=st.floats(0, 1e300),
                    weight_decay_mode=st.sampled_from(["coupled", "decoupled"]),
                    reset_momentum=st.booleans(),
                    cpu_threads=st.integers(1, 1024),
                    checkpoint_every_s=st.floats(0, 1e300),
                )
            ),
        },
        "schedule": {
            "decay": decay,
            "batch_decay": decay,
            "batch_size": draw(WIDTHS),
            **draw(POSITIVE.map(lambda e: {"epochs": e}) | WIDTHS.map(lambda s: {"steps": s})),
        },
        "search": {
            "grid": draw(
                st.lists(POSITIVE, min_size=2, max_size=9, unique=True).map(sorted)
                | st.just({"linear": {"start": 0.1, "stop": 0.5, "step": 0.1}})
                | st.just({"geometric": {"start": 1e-30, "factor": 1.5, "count": 9}})
            ),
            "seeds": seeds,
            "max_trials": draw(st.none() | st.integers(len(seeds), 10**6)),
            **draw(
                section(
                    strategy=st.sampled_from(["paper", "geometric", "probe"]),
                    error_rate=st.floats(1e-300, 0.4999),
                    early_abort=st.booleans(),
                    extend=st.integers(0, 100),
                    resolution=st.none() | st.floats(1, 1e300, exclude_min=True),
                )
            ),
        },
    }
    # A surrogate is no text, and no YAML file holds one.
    data.update(draw(section(description=st.text(st.characters(codec="utf-8")))))
    data.update(draw(section(learning_rate=POSITIVE)))
    return Recipe.model_validate(data)


@given(recipes())
def test_dump_loads_back_equal(recipe: Recipe) -> None:
    data, _ = read_yaml(dump_recipe(recipe), lambda line, column: f"{line}:{column}")
    assert Recipe.model_validate(data) == recipe


@pytest.mark.parametrize(
    "word", ["\x85", "1.e5", "017", "0o17", "0x1f", "1:30", "yes", "null", "~", "", "true", ".inf",
             "1e-3", "é\x85\u2028\ufeff", "a: b", "# c", " x ", "a\n\nb\n", "2024-01-31", "'\"\\",
             "😀\x7f"]
)  # fmt: skip
def test_dump_keeps_text_that_looks_like_something_else(
    word: str, minimal: str, load: Callable[..., Recipe]
) -> None:
    recipe = load(minimal).model_copy(update={"description": word})
    assert load(dump_recipe(recipe)).description == word


@pytest.mark.parametrize("path", shipped_recipes(), ids=lambda path: path.stem)
def test_dump_of_a_shipped_recipe_is_a_fixed_point(path: Any, load: Callable[..., Recipe]) -> None:
    text = dump_recipe(load_recipe(path))
    assert dump_recipe(load(text)) == text


def test_dump_is_readable(minimal: str, load: Callable[..., Recipe]) -> None:
    lines = dump_recipe(load(minimal)).splitlines()
    assert lines[0] == "version: 1"
    assert "  grid: [0.1, 0.2]" in lines
    assert "  epochs: 3.0" in lines
    assert not any("null" in line or "&" in line or "!" in line for line in lines)


def test_dump_keeps_a_null_that_is_not_the_default(
    minimal: str, load: Callable[..., Recipe]
) -> None:
    recipe = load(minimal, "search.resolution=null", "search.max_trials=null")
    lines = dump_recipe(recipe).splitlines()
    assert "  resolution: null" in lines
    assert not any("max_trials" in line for line in lines)
    assert load(dump_recipe(recipe)) == recipe
