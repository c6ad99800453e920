import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tunecli.recipe import derive_schedule, find_recipe, load_recipe
from tunecli.report.live import SearchView
from tunecli.search.events import (
    Event,
    ProbeFinished,
    SearchStarted,
    SearchStopped,
    TrialFinished,
    TrialProgressed,
    TrialRecord,
    TrialStarted,
)
from tunecli.search.metric import metric_of
from tunecli.search.probe import Probe
from tunecli.search.stop_rule import Stop, StopReason

RECIPE = load_recipe(find_recipe("digits-cnn"), ["search.seeds=[0, 1]", "search.test_seeds=[5]"])
PLAN = SearchStarted(
    recipe=RECIPE,
    schedule=derive_schedule(RECIPE.schedule, 0.1, 1077),
    training_samples=1077,
    metric=metric_of(RECIPE),
    most_trials=18,
    usual_trials=18,
    finished=(),
    device="cpu",
)
CURVE = ((0, 0.1), (16128, 0.5), (32256, 0.9))
RECORD = TrialRecord(0.025, 0, "complete", 0.9, 1176, 32256, 2.0, curve=CURVE)
STOP = SearchStopped(
    Stop(StopReason.NO_IMPROVEMENT, 0.025, 0.9, "bottom", learned=True, points=()),
    "0.8000 at 0.05 did not improve on 0.9000 at 0.025",
)


def show(events: list[Event], *, width: int = 80) -> str:
    """What stands in a terminal of a given width after some events."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    view = SearchView(console)
    for event in events:
        view(event)
    view.__exit__(None, None, None)
    screen = Console(file=io.StringIO(), width=width, force_terminal=False)
    screen.print(view)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_table_fits_eighty_columns_and_names_every_rate() -> None:
    text = show(
        [
            PLAN,
            TrialFinished("search", RECORD),
            TrialFinished("search", replace(RECORD, seed=1)),
            TrialStarted("search", 0.05, 0, 1176),
            TrialProgressed("search", 0.05, 0, 1176, 16000, 11.2, (0.1,) * 11),
        ]
    )
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "time" in lines[1]
    for rate in RECIPE.search.learning_rates:
        assert any(f" {rate:g} " in line for line in lines), rate
    assert "training  100%" in text
    assert "best" in text
    assert "left" in text


def test_time_left_is_the_worst_case_at_the_speed_so_far() -> None:
    text = show([PLAN, TrialFinished("search", RECORD), TrialStarted("final", 1, 5, 9)])
    # 17 more trials and one final training at two seconds each
    assert "at most 36.0 s left" in text


def test_rates_past_the_stop_are_not_needed() -> None:
    text = show([PLAN, TrialFinished("search", RECORD), STOP])
    assert "not needed" in text
    assert "waiting" not in text
    assert STOP.explanation in " ".join(text.split())


def test_long_grid_shows_the_part_that_matters() -> None:
    grid = "search.grid={geometric: {start: 1e-5, factor: 1.5, count: 60}}"
    recipe = load_recipe(find_recipe("digits-cnn"), [grid, "search.seeds=[0]"])
    rate = recipe.search.learning_rates[40]
    text = show([replace(PLAN, recipe=recipe), TrialStarted("search", rate, 0, 10)])
    finished = replace(RECORD, learning_rate=rate)
    text = show([replace(PLAN, recipe=recipe), TrialFinished("search", finished)])
    assert f"{rate:g}" in text
    assert len(text.splitlines()) < 35


def test_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=80)
    diverged = replace(
        RECORD,
        learning_rate=0.05,
        state="diverged",
        value=0.0,
        reason="training loss not finite by update 25",
    )
    with SearchView(console) as view:
        for event in (
            PLAN,
            TrialFinished("search", RECORD),
            TrialFinished("search", diverged),
            STOP,
        ):
            view(event)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("learning_rate=0.025 seed=0 validation accuracy=0.9000")
    assert "diverged (training loss not finite by update 25)" in lines[2]
    assert lines[3] == f"stopped: {STOP.explanation}"


def test_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with SearchView(console) as view:
        view(PLAN)
        view(TrialFinished("search", RECORD))
    assert isinstance(console.file, io.StringIO)
    assert "learning_rate=0.025 seed=0 validation accuracy=0.9000" in console.file.getvalue()


def test_diverged_final_trainings_count_as_done() -> None:
    diverged = replace(RECORD, seed=5, state="diverged", value=0.0)
    recipe = load_recipe(find_recipe("digits-cnn"), ["search.test_seeds=[5, 6]"])
    text = show(
        [
            replace(PLAN, recipe=recipe),
            STOP,
            TrialFinished("final", diverged),
            TrialStarted("final", 0.025, 6, 1176),
        ]
    )
    assert "final training 2/2" in text


@pytest.mark.parametrize("height", [12, 24, 60])
def test_table_and_footer_fit_the_screen(height: int) -> None:
    grid = "search.grid={geometric: {start: 1e-5, factor: 1.5, count: 40}}"
    recipe = load_recipe(find_recipe("digits-cnn"), [grid, "search.seeds=[0]"])
    rate = recipe.search.learning_rates[20]
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True)
    view = SearchView(console)
    view(replace(PLAN, recipe=recipe))
    view(TrialFinished("search", replace(RECORD, learning_rate=rate)))
    view(TrialStarted("search", recipe.search.learning_rates[21], 0, 1176))
    lines = console.render_lines(view)
    assert len(lines) <= height - 1
    text = "".join(segment.text for line in lines for segment in line)
    assert f"{rate:g}" in text
    assert "left" in text
    view.__exit__(None, None, None)


@pytest.mark.parametrize("width", [40, 60, 200])
def test_no_width_breaks_the_view(width: int) -> None:
    assert show([PLAN, STOP], width=width)


def plain(events: list[Event], *, width: int = 80) -> list[str]:
    """The lines where there is no terminal."""
    console = Console(file=io.StringIO(), width=width)
    with SearchView(console) as view:
        for event in events:
            view(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def row(text: str, rate: float) -> str:
    """The table's line of a rate."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [f"{rate:g}"]]
    return " ".join(line.split())


def test_plan_tells_what_is_usual_the_worst_case_and_how_many_run_side_by_side() -> None:
    (line,) = plain([PLAN])
    assert "digits-cnn on cpu: at most 18 trials" in line
    (line,) = plain([replace(PLAN, usual_trials=4, workers=2)])
    assert "digits-cnn on cpu, 2 at a time: usually about 4 of at most 18 trials" in line


def test_time_left_is_what_is_usual_where_that_is_less_and_shared_by_the_workers() -> None:
    usual = replace(PLAN, usual_trials=4)
    running: list[Event] = [TrialFinished("search", RECORD), TrialStarted("search", 0.05, 0, 1176)]
    assert "about 8.0 s left" in show([usual, *running])  # 3 trials and a final one
    assert "about 4.0 s left" in show([replace(usual, workers=2), *running])
    done: list[Event] = [TrialFinished("search", replace(RECORD, seed=seed)) for seed in range(6)]
    # past what is usual, one more and the final one
    assert "about 4.0 s left" in show([usual, *done, TrialStarted("search", 0.05, 0, 1176)])


def test_trial_that_was_given_up_says_so_and_is_not_the_best() -> None:
    reason = "it had learned nothing after 40 % of its samples"
    high = replace(RECORD, learning_rate=0.05, state="aborted", value=0.95, reason=reason)
    text = show([PLAN, TrialFinished("search", RECORD), TrialFinished("search", high)])
    assert "given up" in row(text, 0.05)
    assert "best" in row(text, 0.025)
    lines = plain([PLAN, TrialFinished("search", high)])
    assert f"accuracy=0.9500 given up ({reason})" in lines[-1]


def test_trial_that_was_cancelled_costs_and_says_nothing_of_its_rate() -> None:
    cancelled = replace(
        RECORD, learning_rate=0.05, state="cancelled", value=None, samples=10770, curve=()
    )
    text = show([PLAN, TrialFinished("search", RECORD), TrialFinished("search", cancelled), STOP])
    assert row(text, 0.05) == "0.05 not needed 10.0 2.0 s"
    assert "validation cancelled updates=" in plain([PLAN, TrialFinished("search", cancelled)])[-1]


def test_rate_beyond_the_stop_is_shown_as_verified_and_never_as_the_best() -> None:
    beyond = replace(RECORD, learning_rate=0.1, value=0.99, role="verify")
    events: list[Event] = [PLAN, TrialFinished("search", RECORD), TrialFinished("search", beyond)]
    assert "done verified 0.9900" in row(show(events), 0.1)
    assert "best" in row(show([*events, STOP]), 0.025)


def test_rate_that_is_not_on_the_grid_has_its_row_among_the_others() -> None:
    between = replace(RECORD, learning_rate=0.03536)
    text = show([PLAN, TrialFinished("search", RECORD), TrialFinished("search", between)])
    rates = [line.split()[0] for line in text.splitlines() if line[:1] == " " and line.split()]
    numbers = [float(rate) for rate in rates if rate.replace(".", "").isdigit()]
    assert numbers == sorted({*RECIPE.search.learning_rates, 0.03536})


def test_trials_that_run_side_by_side_each_have_their_row() -> None:
    text = show(
        [
            replace(PLAN, workers=2),
            TrialStarted("search", 0.05, 0, 1000),
            TrialStarted("search", 0.1, 0, 1000),
            TrialProgressed("search", 0.1, 0, 250, 8000, 1.0, (0.1, 0.4)),
            TrialProgressed("search", 0.05, 0, 500, 16000, 2.0, (0.1, 0.3)),
        ]
    )
    assert "training 50%" in row(text, 0.05)
    assert "training 25%" in row(text, 0.1)


@pytest.mark.parametrize(
    ("probe", "line"),
    [
        (
            Probe((0.1, 0.2), (2.3, 2.0), 0.1, 3.2, 0.05, 128),
            "probe: a trial starts to learn at 0.05; the walk begins at or below it",
        ),
        (
            Probe((0.1, 0.2), (2.3, 2.3), None, None, None, 128),
            "probe: the ramp did not learn; the walk begins where it does without one",
        ),
    ],
)
def test_probe_is_told_in_a_line(probe: Probe, line: str) -> None:
    assert plain([PLAN, ProbeFinished(probe)])[-1] == line


def test_resumed_run_counts_what_it_found() -> None:
    lines = plain([replace(PLAN, finished=(RECORD, replace(RECORD, seed=1)))])
    assert lines[1] == "resumed: 2 trials already finished"


def test_script_that_does_not_answer_is_told_about_with_its_log() -> None:
    log = Path("runs/x/trials/0000/script.log")

    def view(silent_s: float, at: Path | None = log) -> str:
        progress = TrialProgressed("search", 0.05, 0, 0, 0, 120.0, (), silent_s=silent_s)
        return show([PLAN, TrialStarted("search", 0.05, 0, 1176, at), progress], width=100)

    text = view(120.0)
    assert "no answer for 2:00; log: runs/x/trials/0000/script.log" in text
    assert "Ctrl-C stops, --resume goes on" in text.splitlines()[-1]
    assert "no answer" not in view(59.0)
    assert "no answer" not in view(120.0, at=None)  # a training of ours
    assert "Ctrl-C stops, --resume goes on" in view(1.0)
