import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tunecli.recipe import Recipe
from tunecli.recipe.document import Document, Position
from tunecli.recipe.messages import _REMEDIES, describe, show

Complaints = Callable[..., list[str]]

FULL: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "description": "words",
    "learning_rate": 0.8,
    "command": None,
    "script": None,
    "model": {
        "name": "cnn",
        "channels": [16, 32],
        "hidden": 64,
        "checkpoint": "weights.pt",
        "skip": ["head.*"],
        "freeze": ["0.*"],
    },
    "data": {"name": "digits", "validation": 0.2, "test": 0.2, "split_seed": 0},
    "loss": {"name": "cross_entropy", "label_smoothing": 0.0},
    "augmentation": {"import": "mine:flip", "folder": "src", "args": {"p": 0.5}},
    "optimizer": {"import": "mine:build", "folder": "src", "args": {}},
    "metrics": {
        "f1": {
            "import": "mine:F1",
            "folder": None,
            "args": {},
            "maximize": True,
            "perfect": 1.0,
            "baseline": None,
        }
    },
    "training": {
        "algorithm": "centralized",
        "weight_decay": 0.0,
        "weight_decay_mode": "coupled",
        "reset_momentum": False,
        "micro_batch_size": 32,
        "evaluation_batch_size": None,
        "evaluations": 10,
        "divergence_factor": 10.0,
        "cpu_threads": 1,
        "checkpoint_every_s": 30.0,
        "asynchronous": None,
    },
    "schedule": {
        "stages": 3,
        "decay": 0.5,
        "batch_decay": 0.5,
        "momentum": 0.9,
        "discount": 0.5,
        "batch_size": 64,
        "epochs": 30.0,
        "steps": None,
    },
    "search": {
        "grid": {"geometric": {"start": 0.05, "factor": 2, "count": 9}},
        "strategy": "geometric",
        "patience": 1,
        "seeds": [0],
        "error_rate": 0.05,
        "early_abort": True,
        "extend": 3,
        "resolution": 1.5,
        "test_seeds": [100],
        "metric": "accuracy",
        "learned_share": 0.1,
        "max_trials": None,
    },
}
VARIANTS: list[tuple[tuple[str, ...], Any]] = [
    (("model",), {"name": "mlp", "hidden": [128]}),
    (("model",), {"name": "logistic"}),
    (("model",), {"name": "import", "import": "nets:build", "args": {"width": 3}}),
    (("model",), {"name": "decoder", "layers": 2, "heads": 2, "width": 8, "dropout": 0.1}),
    (("data",), {"name": "import", "import": "data.py:build", "samples": 3, "workers": 2}),
    (("data",), {"name": "npz", "path": "a.npz", "channels": "last", "standardize": True}),
    (("data",), {"name": "images", "path": "a", "image_size": 8, "channels": 1, "test": 0.2}),
    (("data",), {"name": "text", "path": "a", "pattern": "*.txt", "context": 8, "max_bytes": 9}),
    (("loss",), {"name": "mse"}),
    (("loss",), {"name": "import", "import": "torch.nn:CrossEntropyLoss", "args": {}}),
    (("search", "grid"), {"linear": {"start": 0.1, "stop": 0.5, "step": 0.1}}),
    (("search", "grid"), [0.1, 0.2]),
    *(
        (("training",), {"algorithm": "asynchronous", "asynchronous": asynchronous})
        for asynchronous in (
            {"engine": "processes", "num_workers": 2, "delay": {"name": "workers"}},
            {"delay": {"name": "clock", "speeds": [1, 0.1], "service": "constant"}},
            {"delay": {"name": "constant", "delay": 3}, "scaling": "exact"},
            {"delay": {"name": "uniform", "low": 0, "high": 3}, "momentum_kind": "shifted"},
            {"delay": {"name": "gaussian", "mean": 3, "std": 1.0}, "staleness_aware": True},
            {"delay": {"name": "geometric", "mean": 3.0}},
            {"delay": {"name": "histogram", "counts": [0, 1]}},
        )
    ),
    (("schedule", "steps"), 500),
]
WRONG = [
    None, True, False, 0, -1, 1, 2, 65, 10**30, 1.0, 0.5, 2.5, -0.5, 1e308, math.inf, math.nan, "",
    "x", "1", "yes", "centralised", "x" * 200, [], [0], [1, 1], [2, 1], ["1"], [True], [None],
    [[1]], list(range(1, 2000)), {}, {"name": "cn"}, {"name": 3}, {"name": "mlp", "channels": [1]},
    {"geometrc": 1}, {"x": 1}, {"start": 1},
]  # fmt: skip
RAW = ("Input", "should", "http", "pydantic", "rror", "valid ", "Extra", "Unable", "Field", "None",
       "True", "False", "Tuple", "tuple", "dict", "Value", "__", "recipe_rule")  # fmt: skip
SPECIAL = {"recipe_rule", "missing", "extra_forbidden", "union_tag_not_found", "union_tag_invalid"}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = node.copy()
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


def without(node: Any, path: tuple[Any, ...]) -> Any:
    if len(path) > 1:
        return replaced(node, path[:1], without(node[path[0]], path[1:]))
    return {key: value for key, value in node.items() if key != path[0]}


def verdict(data: Any) -> list[tuple[str, str]]:
    """The type and our sentence for each error in `data`."""
    try:
        Recipe.model_validate(data)
    except ValidationError as errors:
        document = Document(data, {(): Position(0, 1, "f:1")})
        return [(one["type"], describe(one, document)[1]) for one in errors.errors()]
    return []


def bases() -> list[Any]:
    return [FULL, *(replaced(FULL, path, value) for path, value in VARIANTS[:-1])]


def assert_ours(sentence: str) -> None:
    assert "\n" not in sentence
    assert "; " in sentence, sentence
    words = sentence.replace("lower-case letters", "").replace("error_rate", "")
    assert not [raw for raw in RAW if raw in words], sentence
    assert " must be " in sentence or " must not " in sentence or sentence.startswith(
        "unknown key "
    ) or " is missing; " in sentence or " must " in sentence, sentence  # fmt: skip


def test_no_raw_text_reaches_the_user_for_any_key_and_every_type_has_a_sentence() -> None:
    seen: set[str] = set()
    for base in bases():
        assert not verdict(base)
        for path in places(base):
            for value in WRONG:
                for kind, sentence in verdict(replaced(base, path, value)):
                    seen.add(kind)
                    assert_ours(sentence)
            if isinstance(path[-1], str):
                for kind, sentence in verdict(without(base, path)):
                    seen.add(kind)
                    assert_ours(sentence)
    assert seen == SPECIAL | set(_REMEDIES)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    place=st.sampled_from(list(places(FULL))),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc1.-", max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "geometric", "linear", "x"]), inner, max_size=2
            )
        ),
        max_leaves=5,
    ),
)
def test_any_value_anywhere_gets_our_sentences(place: tuple[Any, ...], value: Any) -> None:
    for _, sentence in verdict(replaced(FULL, place, value)):
        assert_ours(sentence)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "epochs: 3",
            "epochs: 3\n  momentum: 1",
            (
                "foo.yaml:8: schedule.momentum must be ≥ 0 and < 1 but got 1; "
                "lower it, or leave it out for the default 0.9"
            ),
        ),
        (
            "batch_size: 64",
            'batch_size: "64"',
            (
                'foo.yaml:6: schedule.batch_size must be a whole number ≥ 1 but got "64"; '
                "remove the quotes"
            ),
        ),
        (
            "batch_size: 64",
            "batch_size: 64.0",
            "foo.yaml:6: schedule.batch_size must be a whole number ≥ 1 but got 64.0; write 64",
        ),
        (
            "batch_size: 64",
            "batch_size: true",
            (
                "foo.yaml:6: schedule.batch_size must be a whole number ≥ 1 but got true; "
                "write, for example, 64"
            ),
        ),
        (
            "  batch_size: 64\n",
            "",
            "foo.yaml:5: schedule.batch_size is missing; add, for example, `batch_size: 64`",
        ),
        (
            "data: {name: digits}\n",
            "",
            (
                "foo.yaml:1: data must be given unless command is; add, for example, "
                "`data: {name: digits}`"
            ),
        ),
        (
            "  grid: [0.1, 0.2]",
            "  grid:\n  - 0.2\n  - 0.1",
            (
                "foo.yaml:11: search.grid.1 must be > 0.2, the rate before it, but got 0.1; "
                "write the rates in ascending order, each once"
            ),
        ),
        (
            "[0.1, 0.2]",
            "[0.1, .inf]",
            "foo.yaml:9: search.grid.1 must be a number > 0 but got .inf; write a number",
        ),
        (
            "[0.1, 0.2]",
            "[0.1]",
            (
                "foo.yaml:9: search.grid must be a list of 2 to 1000 entries, each a number > 0 "
                "but got [0.1]; write, for example, [0.1, 0.2, 0.4]"
            ),
        ),
        (
            "[0.1, 0.2]",
            "{geometrc: {start: 0.1}}",
            (
                "foo.yaml:9: search.grid must be one of {geometric: …}, {linear: …} or an "
                "ascending list of rates but got {geometrc: {start: 0.1}}; did you mean geometric?"
            ),
        ),
        (
            "{name: cnn}",
            "{name: cn}",
            (
                "foo.yaml:3: model.name must be one of cnn, decoder, lenet, logistic, lstm, mlp, "
                'import but got "cn"; did you mean cnn?'
            ),
        ),
        (
            "{name: cnn}",
            "{}",
            (
                "foo.yaml:3: model.name is missing; choose one of cnn, decoder, lenet, logistic, "
                "lstm, mlp, import"
            ),
        ),
        (
            "{name: cnn}",
            "{name: mlp, channels: [8]}",
            (
                "foo.yaml:3: unknown key model.channels for the model mlp; allowed keys: name, "
                "hidden, checkpoint, skip, freeze"
            ),
        ),
        (
            "search:",
            "search:\n  pateince: 2",
            "foo.yaml:9: unknown key search.pateince; did you mean patience?",
        ),
        (
            "version: 1",
            "version: 1\nfoo: 2",
            (
                "foo.yaml:2: unknown key foo; allowed keys: version, name, description, "
                "learning_rate, command, script, model, data, loss, augmentation, optimizer, "
                "metrics, training, schedule, search"
            ),
        ),
        (
            "version: 1",
            "version: 1\nbatch_size: 2",
            (
                "foo.yaml:2: unknown key batch_size; it belongs to schedule; allowed keys here: "
                "version, name, description, learning_rate, command, script, model, data, loss, "
                "augmentation, optimizer, metrics, training, schedule, search"
            ),
        ),
        (
            "version: 1",
            "version: 2",
            (
                "foo.yaml:1: version must be 1 but got 2; "
                "write 1, or install the tunecli that the recipe was written for"
            ),
        ),
        (
            "version: 1",
            "version: true",
            (
                "foo.yaml:1: version must be 1 but got true; "
                "write 1, or install the tunecli that the recipe was written for"
            ),
        ),
        (
            "version: 1",
            "version: 1\ntraining:",
            (
                "foo.yaml:2: training must be a section with the keys algorithm, weight_decay, "
                "weight_decay_mode, reset_momentum, micro_batch_size, evaluation_batch_size, "
                "evaluations, divergence_factor, "
                "cpu_threads, checkpoint_every_s, asynchronous but got null; "
                "write its keys below it, or leave it out for the defaults"
            ),
        ),
        (
            "version: 1",
            "version: 1\ntraining: {algorithm: asynchronous}",
            (
                "foo.yaml:2: training.asynchronous must be given with training.algorithm "
                "asynchronous; add, for example, `asynchronous: {num_workers: 16}` to training"
            ),
        ),
        (
            "version: 1",
            "version: 1\ntraining: {num_workers: 4}",
            (
                "foo.yaml:2: unknown key training.num_workers; it belongs to "
                "training.asynchronous; allowed keys here: algorithm, weight_decay, "
                "weight_decay_mode, reset_momentum, micro_batch_size, evaluation_batch_size, "
                "evaluations, divergence_factor, cpu_threads, "
                "checkpoint_every_s, asynchronous"
            ),
        ),
        (
            "version: 1",
            (
                "version: 1\ntraining:\n  algorithm: asynchronous\n"
                "  asynchronous:\n    delay: {name: constnt, delay: 3}"
            ),
            (
                "foo.yaml:5: training.asynchronous.delay.name must be one of workers, clock, "
                'constant, uniform, gaussian, geometric, histogram but got "constnt"; '
                "did you mean constant?"
            ),
        ),
        (
            "version: 1",
            (
                "version: 1\ntraining:\n  algorithm: asynchronous\n"
                "  asynchronous:\n    num_workers: 4\n    delay: {name: constant, delay: 3}"
            ),
            (
                "foo.yaml:5: training.asynchronous.num_workers must not stand beside a simulated "
                "delay (constant) but got 4; remove it (on the command line: "
                "training.asynchronous.num_workers=null)"
            ),
        ),
        (
            "version: 1",
            "version: 1\ntraining:\n  algorithm: asynchronous\n  asynchronous: {engine: processes}",
            (
                "foo.yaml:4: training.asynchronous.num_workers must be ≥ 2 with processes; one "
                "worker is never late; add a second"
            ),
        ),
        (
            "version: 1",
            "version: 1\ntraining: {reset_momentum: no}",
            'foo.yaml:2: training.reset_momentum must be true or false but got "no"; write false',
        ),
        (
            "epochs: 3",
            "epochs: 3\n  steps: 5",
            (
                "foo.yaml:8: schedule.steps must not stand beside schedule.epochs (3.0) but got 5; "
                "remove one of the two"
            ),
        ),
        (
            "  epochs: 3\n",
            "",
            (
                "foo.yaml:5: schedule.steps must be given unless schedule.epochs is; "
                "add `epochs: 30`, say, or `steps: 500`"
            ),
        ),
        (
            "epochs: 3",
            "epochs: 3\n  decay: 0.3\n  batch_decay: 0.5",
            (
                "foo.yaml:9: schedule.batch_decay must be ≤ schedule.decay (0.3) but got 0.5; "
                "set it to 0.3 or less (QHM paper, Eq. 17)"
            ),
        ),
        (
            "search:",
            "search:\n  seeds: [7, 101]",
            (
                "foo.yaml:8: search.test_seeds.1 must be none of search.seeds but got 101 "
                "(the default); replace 101 in one of the two"
            ),
        ),
        (
            "search:",
            "search:\n  strategy: geometrical",
            (
                "foo.yaml:9: search.strategy must be paper or geometric or probe but got "
                '"geometrical"; did you mean geometric?'
            ),
        ),
        (
            "search:",
            "search:\n  error_rate: 0.5",
            (
                "foo.yaml:9: search.error_rate must be > 0 and < 0.5 but got 0.5; "
                "lower it, or leave it out for the default 0.05"
            ),
        ),
        (
            "search:",
            "search:\n  resolution: 1",
            (
                "foo.yaml:9: search.resolution must be > 1 but got 1; "
                "raise it, or leave it out for the default 1.5"
            ),
        ),
        (
            "{name: digits}",
            "{name: digits, test: 0.8}",
            (
                "foo.yaml:4: data.test must be < 1 − data.validation (0.2), to leave training "
                "data, but got 0.8; lower one of the two"
            ),
        ),
        (
            "{name: digits}",
            "{name: text, path: a, pattern: 3}",
            (
                "foo.yaml:4: data.pattern must be text that does not begin with '/', or null "
                "but got 3; put it in quotes"
            ),
        ),
        (
            "{name: digits}",
            "{name: text, path: a, pattern: /a}",
            (
                "foo.yaml:4: data.pattern must be text that does not begin with '/', or null "
                'but got "/a"; write, for example, "**/*.txt"'
            ),
        ),
        (
            "{name: digits}",
            '{name: npz, path: ""}',
            (
                'foo.yaml:4: data.path must be text, not empty but got ""; '
                "write, for example, digits.npz"
            ),
        ),
        (
            "{name: digits}",
            "{name: images, path: a, channels: 2}",
            "foo.yaml:4: data.channels must be 1 or 3 but got 2; write 1 or 3",
        ),
        (
            "{name: digits}",
            "{name: npz, path: a, channels: frist}",
            (
                "foo.yaml:4: data.channels must be first or last, or null "
                'but got "frist"; did you mean first?'
            ),
        ),
    ],
)
def test_message_as_printed(
    minimal: str, complaints: Complaints, old: str, new: str, message: str
) -> None:
    assert complaints(minimal.replace(old, new, 1)) == [message]


def test_all_mistakes_are_listed_by_line(minimal: str, complaints: Complaints) -> None:
    text = minimal.replace("epochs: 3", "epochs: 0\n  decay: 2").replace("tiny", "Tiny")
    lines = complaints(text, "search.metric=los", "search.patience=0")
    assert [line.split(" must")[0] for line in lines] == [
        "foo.yaml:2: name",
        "foo.yaml:7: schedule.epochs",
        "foo.yaml:8: schedule.decay",
        "command line: search.metric=los: search.metric",
        "command line: search.patience=0: search.patience",
    ]


def test_show_is_short_and_on_one_line() -> None:
    assert show("a\nb") == '"a\\u000ab"'
    assert show([1.5, None, {"a": True}]) == "[1.5, null, {a: true}]"
    assert show("x" * 100) == '"' + "x" * 58 + "…"
    assert show([math.inf, -math.inf, math.nan]) == "[.inf, -.inf, .nan]"
