from io import StringIO
from typing import Any

from rich.console import Console

from tunecli.report.compare_view import CompareView, comparison_summary
from tunecli.search.compare.methods import choose_methods
from tunecli.search.compare.run import CompareStarted, StudyFinished
from tunecli.search.compare.study import StudyProgress

STARTED = CompareStarted(
    recipe="quick",
    methods=choose_methods(["tpe"]),
    skipped=(("prodigy", "prodigyopt is not installed"),),
    studies=3,
    budget=1000,
    finished=1,
    workers=2,
    device="cpu",
)
STUDY: dict[str, Any] = {
    "seed": 0,
    "trials": 5,
    "samples": 900,
    "seconds": 1.5,
    "validation": 0.875,
}


def shown(*, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=100, height=30)
    with CompareView(console) as view:
        view(STARTED)
        view(StudyFinished("tunecli", STUDY))
        view(StudyProgress("tpe", 0, trials=2, samples=500, best=0.75))
        view(StudyFinished("tpe", {**STUDY, "validation": None}))
        view(StudyProgress("tpe", 1, trials=2, samples=500, best=0.5))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_view_without_a_terminal_has_a_line_per_new_study() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines == [
        "quick on cpu: 6 studies (2 methods, 3 each) of at most 1,000 samples, 2 at once",
        "prodigy is left out: prodigyopt is not installed",
        "resumed: 1 of 6 studies already finished",
        "tpe study=0 trials=5 samples=900 validation=none seconds=1.5 finished=2/6",
    ]


def test_view_in_a_terminal_shows_every_method() -> None:
    text = shown(terminal=True)
    for words in ("tunecli", "TPE", "1/3", "0.8750", "0.5000", "Ctrl-C stops"):
        assert words in text


def result(**changes: Any) -> dict[str, Any]:
    spent = {"trials": 5, "samples": 900, "seconds": 1.5}
    ours = {
        "name": "tunecli",
        "group": "tunecli",
        "final": {"mean": 0.9, "low": 0.8, "high": 1.0, "n": 3},
        "difference": None,
        "spent": spent,
        "target": {"reached": 3, "n": 3, "samples": 400, "seconds": 1.0},
        "catch_up": None,
    }
    theirs = {
        **ours,
        "name": "tpe",
        "group": "learning_rate",
        "difference": {"mean": -0.05, "low": -0.1, "high": 0.01},
        "target": {"reached": 1, "n": 3, "samples": None, "seconds": None},
        "catch_up": {"samples": 450, "ratio": 0.5, "low": None, "high": None},
    }
    never = {
        **theirs,
        "name": "gp",
        "final": None,
        "difference": {"mean": 0.0, "low": None, "high": None},
        "catch_up": {"samples": None, "ratio": None, "low": None, "high": None},
    }
    plain = {
        "metric": "accuracy",
        "seeds": [0, 1, 2],
        "budget": {"samples": 1000, "trials": 10, "samples_per_trial": 100},
        "target": {"value": 0.85, "from": "tpe", "definition": "As defined."},
        "methods": [ours, theirs, never],
        "verdict": ["No significant difference [to] TPE."],
        "skipped": [{"name": "prodigy", "reason": "not [installed]"}],
        "warnings": ["mind [this]"],
        "spent": spent,
    }
    return {**plain, **changes}


def summary(found: dict[str, Any]) -> str:
    console = Console(file=StringIO(), width=130)
    console.print(comparison_summary(found))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_summary_has_a_row_per_method_and_the_words() -> None:
    text = summary(result())
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "0.9000" in rows["tunecli"]
    assert "4.0 (3/3)" in rows["tunecli"]
    assert "-0.1000 … +0.0100" in rows["tpe"]
    assert "1/3" in rows["tpe"]
    assert "0.5×" in rows["tpe"]
    assert rows["gp"].split()[1] == "none"
    assert rows["gp"].split()[-1] == "no"
    for words in (
        "No significant difference [to] TPE.",
        "Left out: prodigy, not [installed]",
        "mind [this]",
        "0.8500, from tpe. As defined.",
    ):
        assert words in text


def test_summary_without_a_target_says_nothing_of_it() -> None:
    assert "Target:" not in summary(result(target=None))
