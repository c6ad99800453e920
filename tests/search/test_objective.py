import io
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunecli.errors import InvalidValueError, RunError, TunecliError
from tunecli.optim import QHM
from tunecli.optim.stagewise import StagewiseScheduler
from tunecli.schedule import Schedule, Stage
from tunecli.search import Continue, MonotoneRule, Observation, Stop, StopReason, decide
from tunecli.search.objective import FinishedTrial, search
from tunecli.search.rule import Strategy

RATES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class Recorded:
    """An objective that keeps its calls."""

    def __init__(self, value: Callable[..., Any]) -> None:
        self.value = value
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.value(*arguments)


def peak(rate: float) -> float:
    """Best at 0.4, diverges from 1.6."""
    return math.nan if rate > 1.5 else 0.9 - abs(math.log2(rate / 0.4)) / 10


def sequential(rule: MonotoneRule, value: Callable[[float, int], float]) -> Stop:
    """The rule alone, asked trial by trial: what a search must come to."""
    observations: list[Observation] = []
    while isinstance(decision := decide(rule, observations), Continue):
        found = value(decision.learning_rate, decision.repeat)
        lost = not math.isfinite(found)
        observations.append(
            Observation(
                decision.learning_rate,
                -sys.float_info.max if lost else found,
                lost,
                repeat=decision.repeat,
            )
        )
    return decision


def test_search_finds_the_best_rate_and_tells_why() -> None:
    objective = Recorded(peak)
    found = search(objective, RATES)
    assert (found.learning_rate, found.value) == (0.4, 0.9)
    assert found.reason == StopReason.NO_IMPROVEMENT
    assert "did not improve on 0.9000 at 0.4" in found.explanation
    assert [(t.learning_rate,) for t in found.trials] == objective.calls
    assert len(objective.calls) < len(RATES)
    assert all(t.seed == 0 and t.value == peak(t.learning_rate) for t in found.trials)
    assert all(t.seconds >= 0 for t in found.trials)
    assert found.study.best_params == {"learning_rate": 0.4}
    with pytest.raises(AttributeError):
        found.value = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("strategy", ["geometric", "paper"])
@pytest.mark.parametrize("n_jobs", [1, 3])
@given(
    values=st.lists(st.floats(0, 1) | st.just(math.nan), min_size=21, max_size=21),
    seeds=st.integers(1, 3),
    patience=st.integers(1, 2),
)
def test_search_is_the_rule_whatever_the_values_and_the_threads(
    strategy: Strategy, n_jobs: int, values: list[float], seeds: int, patience: int
) -> None:
    def value(rate: float, seed: int = 0) -> float:
        return values[3 * RATES.index(rate) + seed]

    rule = MonotoneRule(RATES, strategy=strategy, repeats=seeds, patience=patience, perfect=None)
    expected = sequential(rule, value)

    def run() -> Any:
        return search(
            value,
            RATES,
            seeds=range(seeds),
            strategy=strategy,
            patience=patience,
            n_jobs=n_jobs,
        )

    if expected.learning_rate is None:
        with pytest.raises(RunError, match="training diverged"):
            run()
    else:
        found = run()
        assert found.stop == expected
        # nothing is run twice
        assert len({(t.learning_rate, t.seed) for t in found.trials}) == len(found.trials)


def test_loss_is_minimized() -> None:
    found = search(lambda rate: 1 - peak(rate), RATES, maximize=False)
    assert found.learning_rate == 0.4
    assert found.value == pytest.approx(0.1)


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf, "raise"])
@pytest.mark.parametrize("maximize", [True, False])
def test_divergence_is_kept_as_the_worst_finite_value(answer: Any, maximize: bool) -> None:
    def objective(rate: float) -> float:
        if rate < 0.8:
            return rate if maximize else -rate
        if answer == "raise":
            raise FloatingPointError("overflow")
        return float(answer)

    found = search(objective, RATES, maximize=maximize)
    assert found.learning_rate == 0.4
    assert found.reason == StopReason.DIVERGED
    assert [t.learning_rate for t in found.trials if t.value is None] == [0.8]
    (lost,) = (t for t in found.study.trials if t.user_attrs["diverged"])
    assert lost.value == (-sys.float_info.max if maximize else sys.float_info.max)
    assert found.study.best_params == {"learning_rate": 0.4}


def test_divergence_at_every_rate_is_an_error_with_the_remedy() -> None:
    with pytest.raises(RunError, match=r"diverged at 0\.05, the smallest .*; pass smaller"):
        search(lambda rate: math.nan, RATES)


def test_several_seeds_are_handed_over_and_decide() -> None:
    noise = {0: 0.0, 7: -0.02, 9: 0.01}
    objective = Recorded(lambda rate, seed: peak(rate) + noise[seed])
    found = search(objective, RATES, seeds=(0, 7, 9))
    assert found.learning_rate == 0.4
    assert {seed for rate, seed in objective.calls if rate == 0.4} == {0, 7, 9}
    assert found.value == pytest.approx(0.9 - 0.01 / 3)
    assert [(t.learning_rate, t.seed) for t in found.trials] == objective.calls
    assert found.stop.noise == pytest.approx(np.std([0.0, -0.02, 0.01], ddof=1))


def test_options_reach_the_rule() -> None:
    # extend and resolution leave the grid, max_trials ends it, baseline guards a flat start
    beyond = search(lambda rate: -abs(rate - 6.0), (0.4, 0.8, 1.6), extend=2)
    assert beyond.learning_rate == 6.4
    between = search(lambda rate: -((math.log2(rate) - 0.5) ** 2), (0.5, 1, 2, 4), resolution=1.5)
    assert between.learning_rate == pytest.approx(2**0.5, rel=1e-3)
    budget = search(peak, RATES, max_trials=1)
    assert (budget.reason, len(budget.trials)) == (StopReason.BUDGET, 1)
    learned = {0.1: 0.1, 0.2: 0.1, 0.4: 0.1, 0.8: 0.9}
    flat = search(learned.__getitem__, tuple(learned), strategy="paper", baseline=0.1, perfect=1.0)
    assert flat.learning_rate == 0.8
    assert search(learned.__getitem__, tuple(learned), strategy="paper").learning_rate == 0.1
    patient = search(
        lambda r: {0.1: 0.5, 0.2: 0.4, 0.4: 0.3, 0.8: 0.9}[r],
        (0.1, 0.2, 0.4, 0.8),
        strategy="paper",
        patience=3,
    )
    assert patient.learning_rate == 0.8


def test_best_at_the_edge_says_where_to_look() -> None:
    found = search(lambda rate: rate, (0.1, 0.2, 0.4))
    assert found.stop.edge == "top"
    assert found.explanation.endswith("; it lies at the edge, try larger rates")


def test_objective_runs_in_the_calling_thread_unless_asked_otherwise() -> None:
    threads = set()

    def objective(rate: float) -> float:
        threads.add(threading.get_ident())
        return peak(rate)

    search(objective, RATES)
    assert threads == {threading.get_ident()}


def test_jobs_run_side_by_side() -> None:
    together = threading.Barrier(2, timeout=20)
    met: list[float] = []

    def objective(rate: float) -> float:
        if len(met) < 2:  # the first two wait for each other
            met.append(rate)
            together.wait()
        return peak(rate)

    assert search(objective, RATES, n_jobs=2).learning_rate == 0.4
    assert len(set(met)) == 2


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_exception_ends_the_search_at_once_and_what_is_finished_stays(
    tmp_path: Path, n_jobs: int
) -> None:
    broken = Recorded(lambda rate: peak(rate) if rate < 0.3 else 1 // 0)
    file = tmp_path / "search.db"
    with pytest.raises(ZeroDivisionError):
        search(broken, RATES, storage=file, n_jobs=n_jobs)
    assert len([call for call in broken.calls if call[0] > 0.3]) <= n_jobs
    mended = Recorded(peak)
    found = search(mended, RATES, storage=file)
    kept = {call for call in broken.calls if call[0] < 0.3}
    assert not kept & set(mended.calls)
    assert {(t.learning_rate,) for t in found.trials} == kept | set(mended.calls)
    assert found.learning_rate == 0.4


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_error_is_raised_before_the_other_threads_end_and_those_are_not_counted(
    tmp_path: Path, error: BaseException
) -> None:
    both, may_end = threading.Barrier(2, timeout=20), threading.Event()
    others: list[threading.Thread] = []

    def objective(rate: float) -> float:
        if rate < 0.3:
            others.append(threading.current_thread())
        both.wait()
        if rate > 0.3:
            raise error
        assert may_end.wait(20)
        return 100.0  # the best, had it been counted

    file = tmp_path / "search.db"
    try:
        with pytest.raises(type(error)):
            search(objective, [0.2, 0.4], storage=file, n_jobs=2)
        (other,) = others
        assert other.is_alive()  # it has not been waited for
        found = search(peak, [0.2, 0.4], storage=file)  # the same storage, at once
    finally:
        may_end.set()
    other.join(20)
    assert not other.is_alive()
    assert found.learning_rate == 0.4
    assert len(found.study.trials) == len(found.trials) == 2


def test_finished_search_is_read_and_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    first = search(peak, RATES, storage=str(file))
    never = Recorded(lambda rate: 1 // 0)
    again = search(never, RATES, storage=f"sqlite:///{file}")
    assert not never.calls
    assert (again.trials, again.stop, again.explanation) == (
        first.trials,
        first.stop,
        first.explanation,
    )


def test_killed_search_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "search.db"
    script = (
        "import os, signal, sys\n"
        "from tunecli import search\n"
        "def train(rate):\n"
        "    print(rate, flush=True)\n"
        "    if rate > 0.3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rate\n"
        f"search(train, {list(RATES)}, storage=sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    ran = [float(line) for line in done.stdout.split()]
    finished, killed = ran[:-1], ran[-1]
    assert finished
    objective = Recorded(peak)
    found = search(objective, RATES, storage=file)
    rates = [rate for (rate,) in objective.calls]
    assert rates[0] == killed
    assert not set(rates) & set(finished)
    assert all(t.state.is_finished() for t in found.study.trials)


def test_storage_of_optuna_is_taken_and_studies_are_told_apart_by_name() -> None:
    storage = optuna.storages.InMemoryStorage()
    one = search(peak, RATES, storage=storage)
    other = search(lambda rate: -rate, RATES, storage=storage, study_name="another")
    assert (one.learning_rate, other.learning_rate) == (0.4, 0.05)
    assert {s.study_name for s in optuna.get_all_study_summaries(storage)} == {"search", "another"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maximize": False}, "must minimize as the rule does"),
        ({"learning_rates": (0.07, 0.3)}, "was the grid changed"),
        (
            {"objective": lambda rate, seed: 0.0, "seeds": (3, 4)},
            "seed 1 of .* must be 3 but got 0",
        ),
    ],
)
def test_storage_of_another_search_is_refused(change: dict[str, Any], message: str) -> None:
    storage = optuna.storages.InMemoryStorage()
    arguments: dict[str, Any] = {"objective": peak, "learning_rates": RATES, "storage": storage}
    search(**arguments)
    with pytest.raises(InvalidValueError, match=message) as caught:
        search(**arguments | change)
    assert str(caught.value).endswith("; give another study_name or storage for another search")


def test_study_of_others_is_refused() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="search", direction="maximize")
    study.enqueue_trial({"learning_rate": 0.4})
    study.optimize(lambda trial: trial.suggest_float("learning_rate", 0.1, 1.0), n_trials=1)
    with pytest.raises(InvalidValueError, match="one that search made but got trials of others"):
        search(peak, RATES, storage=storage)


def test_storage_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("this is no database, only a text that is long enough to be read " * 9)
    with pytest.raises(RunError, match=r"cannot be opened as a study: .*not a database; give"):
        search(peak, RATES, storage=file)
    with pytest.raises(InvalidValueError, match="storage must be a file in a folder that exists"):
        search(peak, RATES, storage=tmp_path / "nowhere" / "search.db")


def test_one_number_may_come_as_tensor_array_or_integer() -> None:
    for convert in (torch.tensor, np.float32, lambda v: torch.tensor([v]), lambda v: int(10 * v)):
        assert search(lambda rate, c=convert: c(rate), (0.1, 0.5)).learning_rate == 0.5


@pytest.mark.parametrize(
    "answer", [None, "0.9", True, [0.9], {"accuracy": 0.9}, 1j, torch.zeros(2), torch.zeros(0)]
)
def test_answer_that_is_no_number_is_refused(answer: Any) -> None:
    with pytest.raises(InvalidValueError, match="objective must return one number but got"):
        search(lambda rate: answer, RATES)


@pytest.mark.parametrize(
    "rates",
    [[0.1, 0.2, 0.4], np.array([0.1, 0.2, 0.4]), torch.tensor([0.1, 0.2, 0.4]), range(1, 4)],
)
def test_rates_are_any_ascending_sequence(rates: Any) -> None:
    found = search(lambda rate: rate, rates)
    assert found.learning_rate == pytest.approx(float(rates[-1]))
    assert type(found.learning_rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": [0.1]}, "learning_rates must be at least two numbers but got .0.1."),
        ({"learning_rates": []}, "learning_rates must be at least two numbers"),
        ({"learning_rates": 0.1}, r"learning_rates must be at least two numbers but got 0\.1"),
        ({"learning_rates": "0.1"}, "learning_rates must be at least two numbers"),
        ({"learning_rates": [0.1, "x"]}, "learning_rates must be at least two numbers"),
        ({"learning_rates": [0.2, 0.1]}, r"strictly ascending but got .*; pass sorted"),
        ({"learning_rates": [0.1, 0.1]}, r"strictly ascending but got .*; pass sorted"),
        ({"learning_rates": [-0.1, 0.1]}, "positive, finite and strictly ascending"),
        ({"learning_rates": [0.0, 0.1]}, "positive, finite and strictly ascending"),
        ({"learning_rates": [0.1, math.inf]}, "positive, finite and strictly ascending"),
        ({"learning_rates": [0.1, math.nan]}, "ascending"),
        ({"objective": 0.9}, r"objective must be a function but got 0\.9; pass train, not train"),
        ({"objective": lambda: 0.9}, r"objective must take \(learning_rate\) but got \(\)"),
        ({"seeds": (0, 1)}, r"objective must take \(learning_rate, seed\) .* but got \(rate"),
        ({"seeds": ()}, "seeds must be one or more distinct whole numbers"),
        ({"seeds": (1, 1)}, "seeds must be one or more distinct whole numbers"),
        ({"seeds": 3}, "seeds must be one or more distinct whole numbers but got 3"),
        ({"n_jobs": 0}, "n_jobs must be ≥ 1"),
        ({"patience": 0}, "patience must be ≥ 1"),
        ({"max_trials": 0}, "max_trials must be ≥ 1"),
        ({"strategy": "grid"}, "strategy must be paper or geometric"),
        ({"perfect": 1.0}, "baseline and perfect must be given together but got only perfect"),
        ({"baseline": 0.1}, "baseline and perfect must be given together but got only baseline"),
        ({"baseline": 0.1, "perfect": 0.0}, r"perfect must be larger than baseline \(0\.1\)"),
        (
            {"baseline": 0.1, "perfect": 1.0, "maximize": False},
            r"perfect must be smaller than baseline \(0\.1\)",
        ),
    ],
)
def test_wrong_argument_is_refused_before_anything_runs(
    change: dict[str, Any], message: str
) -> None:
    calls = []

    def objective(rate: float) -> float:
        calls.append(rate)
        return rate

    arguments: dict[str, Any] = {"objective": objective, "learning_rates": RATES}
    with pytest.raises(InvalidValueError, match=message):
        search(**arguments | change)
    assert not calls


def test_lines_are_written_when_asked_for_or_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search(peak, RATES)
    line = (
        "search: best learning rate 0.4, value 0.9; stopped because 0.8000 at 0.8 did not improve "
        "on 0.9000 at 0.4\n"
    )
    assert capsys.readouterr() == ("", line)  # the result in any case
    storage = optuna.storages.InMemoryStorage()
    found = search(peak, RATES, verbose=True, storage=storage)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == len(found.trials) + 1
    assert "learning rate 0.4: 0.9 (0.0 s)\n" in err
    assert err.endswith(line)
    search(peak, RATES, storage=storage)
    taken = f"search: {len(found.trials)} finished trial(s) taken from the study 'search' in the"
    out, err = capsys.readouterr()
    assert err.startswith(taken)
    assert err.endswith(line)
    assert err.count("\n") == 2
    search(peak, RATES, storage=storage, verbose=False)
    assert capsys.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    search(lambda rate, seed: peak(rate), RATES, seeds=(4, 5))
    assert "learning rate 0.4, seed 5: 0.9 (0.0 s)\n" in terminal.getvalue()
    search(peak, RATES, verbose=False)
    assert terminal.getvalue().count("best learning rate") == 1


def test_optunas_own_log_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    search(peak, RATES)
    assert optuna.logging.get_verbosity() == before
    assert "A new study" not in capsys.readouterr().err


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_interrupt_is_heard_and_finished_trials_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n_jobs: int
) -> None:
    def objective(rate: float) -> float:
        if rate > 0.3:
            time.sleep(0.2)  # with two threads the rates below have finished
            raise KeyboardInterrupt
        return peak(rate)

    file = tmp_path / "search.db"
    with pytest.raises(KeyboardInterrupt):
        search(objective, RATES, storage=file, n_jobs=n_jobs)
    (line,) = capsys.readouterr().err.split("\n")[1:-1]  # below what the terminal shows as ^C
    assert line.startswith("search: interrupted; best of ")
    assert ": learning rate 0.2, value 0.8; call it again with the same storage" in line
    with pytest.raises(KeyboardInterrupt):
        search(objective, RATES, n_jobs=n_jobs)
    assert "; storage='search.db' would have kept what is finished\n" in capsys.readouterr().err
    assert search(peak, RATES, storage=file).learning_rate == 0.4


def test_seconds_are_the_objectives() -> None:
    def objective(rate: float) -> float:
        time.sleep(0.02)
        return rate

    found = search(objective, (0.1, 0.2))
    assert all(isinstance(t, FinishedTrial) and 0.02 <= t.seconds < 5 for t in found.trials)


def test_errors_are_the_packages() -> None:
    assert issubclass(InvalidValueError, TunecliError)
    assert issubclass(RunError, TunecliError)


def test_interrupt_before_anything_finished_has_no_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def objective(rate: float) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(objective, RATES)
    assert "interrupted; 0 trial(s) finished, none with a value; " in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        search(objective, RATES, verbose=False)
    assert capsys.readouterr().err == ""


def test_found_is_three_lines_to_a_person_and_everything_to_a_program() -> None:
    found = search(lambda rate: rate if rate < 1 else math.nan, RATES)
    assert str(found).splitlines() == [
        "best learning rate 0.8, value 0.8",
        f"stopped because {found.explanation}",
        f"{len(found.trials)} trial(s), 1 diverged",
    ]
    assert repr(found).startswith("Found(learning_rate=0.8, value=0.8, reason=")


def test_loss_that_is_maximized_is_hinted_at(capsys: pytest.CaptureFixture[str]) -> None:
    hint = "; if the value is a loss, pass maximize=False"
    search(lambda rate: 1 / rate, RATES)
    assert capsys.readouterr().err.endswith(f"{hint}\n")
    for value, maximize in ((lambda r: 1 / r, False), (lambda r: r, True), (peak, True)):
        assert hint not in search(value, RATES, maximize=maximize).explanation
    # the smallest is best, but it does not fall all the way
    uneven = search({0.1: 0.9, 0.2: 0.3, 0.4: 0.5}.__getitem__, (0.1, 0.2, 0.4), strategy="paper")
    assert uneven.learning_rate == 0.1
    patient = search(
        {0.1: 0.9, 0.2: 0.3, 0.4: 0.5}.__getitem__, (0.1, 0.2, 0.4), strategy="paper", patience=2
    )
    assert hint not in patient.explanation


SCHEDULE = Schedule((Stage(0.1, momentum=0.9, discount=0.5, batch_size=4, steps=40),))


def updates(made: int, *, automatic: bool = True) -> None:
    optimizer = QHM([torch.nn.Parameter(torch.ones(1))], 0.1)
    StagewiseScheduler(optimizer, SCHEDULE, automatic=automatic)
    for _ in range(made):
        optimizer.step()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_part_of_a_schedule_is_warned_of_once(n_jobs: int) -> None:
    def objective(rate: float) -> float:
        updates(30)
        return peak(rate)

    with pytest.warns(UserWarning, match="returned after 30 of its schedule's 40") as caught:
        search(objective, RATES, n_jobs=n_jobs)
    assert len(caught) == 1
    search(objective, RATES, n_jobs=n_jobs)  # warnings are errors


@pytest.mark.parametrize(("made", "answer"), [(40, 0.5), (39, 0.5), (3, math.nan)])
def test_whole_schedule_or_divergence_is_not_warned_of(made: int, answer: float) -> None:
    def objective(rate: float) -> float:
        updates(made if rate > 0.3 else 40)
        return rate if rate < 0.3 else answer

    search(objective, RATES)  # warnings are errors


def test_forgotten_scheduler_is_told_of_by_its_own_warning_alone() -> None:
    def objective(rate: float) -> float:
        updates(40, automatic=False)
        return peak(rate)

    with pytest.warns(UserWarning, match="without the scheduler") as caught:
        search(objective, RATES)
    assert len(caught) == 1
