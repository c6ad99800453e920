import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tunecli.data.load import AnySplit, Split, Splits
from tunecli.errors import InvalidValueError
from tunecli.recipe import Recipe
from tunecli.schedule import Schedule, Stage
from tunecli.training import CurvePoint, Evaluation, Training, Trial, TrialOutcome
from tunecli.training.build import build_trial
from tunecli.training.protocol import NotYetError
from tunecli.training.trial import GivesUp

CPU = torch.device("cpu")
NOTHING = Split(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
CHECK_WINDOW = 25
inf, nan = math.inf, math.nan


class Scripted:
    """A training whose losses are written down beforehand."""

    def __init__(self, losses: list[float], validation: dict[int, float] | None = None) -> None:
        self.total_steps = len(losses)
        self.steps = 0
        self._losses = losses
        self._validation = validation or {}

    @property
    def samples(self) -> int:
        return 2 * self.steps

    @property
    def batch_sizes(self) -> tuple[tuple[int, int], ...]:
        return ((2, self.steps),)

    def step(self) -> Tensor:
        loss = self._losses[self.steps]
        self.steps += 1
        return torch.tensor(loss, dtype=torch.float64)

    def evaluate(self, split: AnySplit) -> Evaluation:
        return Evaluation(loss=self._validation.get(self.steps, 1.0), accuracy=0.5)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]

    def measurements(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def weights(self) -> dict[str, Tensor]:
        return {}

    def take_notes(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


def scripted(
    losses: list[float],
    *,
    evaluations: int = 1,
    factor: float = 10.0,
    validation: dict[int, float] | None = None,
    gives_up: GivesUp | None = None,
) -> Trial:
    training: Training = Scripted(losses, validation)
    return Trial(
        training,
        NOTHING,
        evaluations=evaluations,
        divergence_factor=factor,
        gives_up=gives_up,
    )


def clock(monkeypatch: pytest.MonkeyPatch, tick_s: float) -> None:
    """A clock that moves on by `tick_s` whenever it is read, instead of the machine's."""
    ticks = itertools.count()
    fake = SimpleNamespace(perf_counter=lambda: next(ticks) * tick_s)
    monkeypatch.setattr("tunecli.training.trial.time", fake)


# --- evaluations


@pytest.mark.parametrize(
    ("total", "evaluations", "expected"),
    [
        (100, 10, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (7, 3, [0, 3, 5, 7]),
        (5, 1, [0, 5]),
        (3, 10, [0, 1, 2, 3]),
        (1, 1, [0, 1]),
    ],
)
def test_evaluations_are_evenly_spaced_up_to_the_last_update(
    total: int, evaluations: int, expected: list[int]
) -> None:
    curve = scripted([1.0] * total, evaluations=evaluations).run().curve
    assert [point.steps for point in curve] == expected
    assert [point.samples for point in curve] == [2 * steps for steps in expected]


@given(st.integers(1, 130), st.integers(1, 40))
def test_evaluation_gaps_differ_by_at_most_one_update(total: int, evaluations: int) -> None:
    steps = [point.steps for point in scripted([1.0] * total, evaluations=evaluations).run().curve]
    assert steps[0] == 0
    assert steps[-1] == total
    assert len(steps) == min(total, evaluations) + 1
    gaps = [late - early for early, late in itertools.pairwise(steps)]
    assert max(gaps) - min(gaps) <= 1


def test_train_loss_is_the_mean_since_the_point_before() -> None:
    curve = scripted([float(k) for k in range(1, 61)], evaluations=2, factor=100).run().curve
    assert [point.train_loss for point in curve] == [None, sum(range(1, 31)) / 30, 45.5]


def test_outcome_tells_the_first_and_the_last_evaluation() -> None:
    trial = scripted([1.0] * 4, evaluations=2, validation={0: 2.5, 2: 9.0, 4: 0.25})
    outcome = trial.run()
    assert outcome.untrained == Evaluation(2.5, 0.5)
    assert outcome.final == Evaluation(0.25, 0.5)
    assert [point.loss for point in outcome.curve] == [2.5, 9.0, 0.25]
    assert (outcome.diverged, outcome.reason) == (False, "")
    assert (outcome.steps, outcome.samples, outcome.batch_sizes) == (4, 8, ((2, 4),))
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"evaluations": 0}, "evaluations must be ≥ 1 but got 0"),
        ({"divergence_factor": 1.0}, "divergence_factor must be > 1 but got 1.0"),
    ],
)
def test_argument_outside_its_range_is_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Trial(Scripted([1.0]), NOTHING, **option)


# --- divergence


def ends_at(step: int, total: int, evaluations: int) -> int:
    """The update at whose end the loss of update `step` (from 0) is looked at: worked out anew."""
    stops = {math.ceil(total * k / evaluations) for k in range(1, evaluations + 1)}
    start = 0
    while True:
        end = min(start + CHECK_WINDOW, min(stop for stop in stops if stop > start))
        if step < end:
            return end
        start = end


@pytest.mark.parametrize("tick_s", [0.0, 0.001, 0.06, 0.11, 0.2])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize(("at", "evaluations"), [(1, 1), (24, 1), (25, 1), (30, 3), (99, 7)])
def test_loss_that_is_not_finite_ends_the_trial_at_a_fixed_update(
    monkeypatch: pytest.MonkeyPatch, tick_s: float, bad: float, at: int, evaluations: int
) -> None:
    clock(monkeypatch, tick_s)
    losses = [1.0] * 100
    losses[at] = bad
    outcome = scripted(losses, evaluations=evaluations).run()
    end = ends_at(at, 100, evaluations)
    assert outcome.diverged
    assert outcome.final is None
    assert outcome.steps == end
    assert outcome.reason == f"training loss not finite by update {end}"
    assert outcome.curve[-1].steps < end


@pytest.mark.parametrize("tick_s", [0.0, 0.06, 0.2])
def test_loss_far_above_the_start_ends_the_trial_at_a_fixed_update(
    monkeypatch: pytest.MonkeyPatch, tick_s: float
) -> None:
    clock(monkeypatch, tick_s)
    # the first loss is 2; from update 40 on, 30: more than half of updates 25 to 49 are not yet bad
    outcome = scripted([2.0] * 40 + [30.0] * 60).run()
    assert outcome.diverged
    assert outcome.final is None
    assert outcome.steps == 75
    assert outcome.reason == "training loss 30 at update 75, above 10 × 2 at the start"


@pytest.mark.parametrize(("factor", "diverges"), [(14.9, True), (15.1, False)])
def test_far_above_means_the_factor_times_the_first_loss(factor: float, diverges: bool) -> None:
    outcome = scripted([2.0] + [30.0] * 99, factor=factor).run()
    assert outcome.diverged == diverges


@pytest.mark.parametrize("evaluations", [1, 3, 10, 49, 99, 100])
def test_one_bad_batch_is_not_divergence(evaluations: int) -> None:
    """However short the windows are: at 100 evaluations each is a single update."""
    for at in range(1, 100):
        losses = [1.0] * 100
        losses[at] = 1e9
        outcome = scripted(losses, evaluations=evaluations).run()
        assert not outcome.diverged, f"a bad batch at update {at}"
        assert outcome.steps == 100


@pytest.mark.parametrize("evaluations", [1, 10, 100])
def test_loss_that_stays_far_above_the_start_is_divergence_at_any_window(evaluations: int) -> None:
    outcome = scripted([1.0] * 20 + [50.0] * 80, evaluations=evaluations).run()
    assert outcome.diverged
    assert outcome.steps <= 50


def test_validation_loss_that_is_not_finite_is_divergence() -> None:
    outcome = scripted([1.0] * 100, evaluations=4, validation={50: nan}).run()
    assert outcome.diverged
    assert outcome.final is None
    assert outcome.reason == "validation loss not finite after update 50"
    assert outcome.steps == 50
    assert [point.steps for point in outcome.curve] == [0, 25]


def test_untrained_model_without_a_finite_validation_loss_is_an_error_and_not_divergence() -> None:
    trial = scripted([1.0] * 100, validation={0: nan})
    with pytest.raises(InvalidValueError, match="untrained model's validation loss must be finite"):
        trial.run()
    assert trial.diverged_because == ""


@pytest.mark.parametrize("bad", [nan, inf])
def test_first_training_loss_that_is_not_finite_is_an_error_and_not_divergence(bad: float) -> None:
    """No update was made yet: it says nothing of the learning rate."""
    trial = scripted([bad] * 100)
    with pytest.raises(InvalidValueError, match="loss of the first training batch must be finite"):
        trial.run()
    assert trial.diverged_because == ""


def test_error_in_the_training_is_not_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = scripted([1.0] * 100)

    def out_of_memory() -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trial.training, "step", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        trial.run()
    assert not trial.finished


@pytest.mark.parametrize("evaluations", [1, 7, 60])
@pytest.mark.parametrize("kind", ["far above", "not finite", "one bad batch"])
def test_verdict_is_the_same_after_an_interruption_at_any_update(
    monkeypatch: pytest.MonkeyPatch, evaluations: int, kind: str
) -> None:
    losses = {
        "far above": [1.0] * 20 + [50.0] * 40,
        "not finite": [1.0] * 33 + [nan] + [1.0] * 26,
        "one bad batch": [1.0] * 26 + [1e9] + [1.0] * 33,
    }[kind]
    expected = replace(scripted(losses, evaluations=evaluations).run(), seconds=0)
    assert expected.diverged == (kind != "one bad batch")
    clock(monkeypatch, 0.2)  # one update at a time
    for stop in range(expected.steps):
        first = scripted(losses, evaluations=evaluations)
        while first.training.steps < stop:
            first.advance()
        fresh = scripted(losses, evaluations=evaluations)
        fresh.load_state_dict(first.state_dict())
        assert replace(fresh.run(), seconds=0) == expected


# --- watching and resuming a real training

SCHEDULE = Schedule(
    (
        Stage(0.2, momentum=0.8, discount=0.5, batch_size=8, steps=9),
        Stage(0.1, momentum=0.9, discount=0.5, batch_size=5, steps=18),
        Stage(0.05, momentum=0.95, discount=0.5, batch_size=3, steps=27),
    )
)


def splits() -> Splits:
    generator = torch.Generator().manual_seed(0)

    def part(samples: int) -> Split:
        inputs = torch.randn(samples, 1, 2, 3, generator=generator)
        return Split(inputs, (inputs.sum(dim=(1, 2, 3)) > 0).long())

    return Splits({"train": part(41), "validation": part(20)}, input_shape=(1, 2, 3), num_classes=2)


def real_trial(seed: int = 3) -> Trial:
    recipe = Recipe.model_validate(
        {
            "version": 1,
            "name": "tiny",
            "model": {"name": "mlp", "hidden": [5]},
            "data": {"name": "digits"},
            "training": {"evaluations": 4, "weight_decay": 0.01, "reset_momentum": True},
            "schedule": {"batch_size": 8, "steps": 9},
            "search": {"grid": [0.1, 0.2]},
        }
    )
    return build_trial(recipe, SCHEDULE, seed=seed, splits=splits(), device=CPU)


def weights(trial: Trial) -> dict[str, Tensor]:
    return trial.training.weights()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def same(one: TrialOutcome, other: TrialOutcome) -> bool:
    return replace(one, seconds=0) == replace(other, seconds=0)


def test_checkpoint_at_every_update_resumes_bitwise(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = real_trial()
    expected, end = whole.run(), weights(whole)
    assert expected.batch_sizes == ((8, 9), (5, 18), (3, 27))
    clock(monkeypatch, 0.2)  # one update at a time
    going = real_trial()
    checkpoints = [through_a_file(going.state_dict())]
    while not going.finished:
        going.advance()
        checkpoints.append(through_a_file(going.state_dict()))
    assert [state["training"]["steps"] for state in checkpoints] == list(range(55))
    assert same(going.outcome(), expected)  # writing checkpoints disturbs nothing
    for state in checkpoints:
        torch.manual_seed(777)
        fresh = real_trial()
        fresh.load_state_dict(state)
        assert same(fresh.run(), expected)
        assert all(map(torch.equal, weights(fresh).values(), end.values()))


def test_chain_of_interruptions_resumes_bitwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh process after every single update, as under the worst of preemptions."""
    whole = real_trial()
    expected, end = whole.run(), weights(whole)
    clock(monkeypatch, 0.2)
    trial = real_trial()
    while not trial.finished:
        state = through_a_file(trial.state_dict())
        trial = real_trial()
        trial.load_state_dict(state)
        trial.advance()
    assert same(trial.outcome(), expected)
    assert all(map(torch.equal, weights(trial).values(), end.values()))


def test_time_goes_on_counting_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.2)
    first = real_trial()
    first.advance()
    fresh = real_trial()
    fresh.load_state_dict(first.state_dict())
    assert fresh.seconds == first.seconds > 0
    fresh.advance()
    assert fresh.seconds > first.seconds


def test_advance_returns_while_the_training_waits_and_loses_nothing() -> None:
    losses = [1.0 + step for step in range(60)]
    waits = iter([False] * 30 + [True, True] + [False] * 100)
    trial, steps = scripted(losses, evaluations=3, factor=100), list[int]()
    step = trial.training.step

    def sometimes_waits() -> Tensor:
        if next(waits):
            raise NotYetError
        return step()

    trial.training.step = sometimes_waits  # type: ignore[method-assign]
    while not trial.finished:
        trial.advance()
        steps.append(trial.training.steps)
    assert steps == [30, 30, 60]
    assert same(trial.outcome(), scripted(losses, evaluations=3, factor=100).run())


def test_updates_of_an_outcome_are_those_that_were_made() -> None:
    class Vain(Scripted):
        batch_sizes = ((2, 4), (3, 1))

    outcome = Trial(Vain([1.0] * 12), NOTHING, evaluations=2).run()
    assert outcome.steps == 5
    assert [point.steps for point in outcome.curve] == [0, 6, 12]


def test_two_trials_that_take_turns_do_not_disturb_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, other_alone = real_trial(3).run(), real_trial(4).run()
    clock(monkeypatch, 0.06)
    one, other = real_trial(3), real_trial(4)
    while not (one.finished and other.finished):
        one.advance()
        other.advance()
    assert same(one.outcome(), alone)
    assert same(other.outcome(), other_alone)
    assert not same(alone, other_alone)


def test_advance_yields_after_a_quarter_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 0.01)
    trial, steps = scripted([1.0] * 1000), [0]
    while not trial.finished:
        trial.advance()
        steps.append(trial.training.steps)
    pieces = [late - early for early, late in itertools.pairwise(steps)]
    assert max(pieces) <= 25
    assert min(pieces) >= 1


def test_finished_trial_stays_finished() -> None:
    trial = scripted([1.0] * 6)
    outcome = trial.run()
    trial.advance()
    assert trial.training.steps == 6
    assert same(trial.outcome(), outcome)


# --- giving up


def test_giving_up_is_asked_after_every_evaluation_but_the_untrained_and_the_last() -> None:
    asked: list[list[int]] = []

    def never(curve: Sequence[CurvePoint]) -> None:
        asked.append([point.steps for point in curve])

    outcome = scripted([1.0] * 12, evaluations=4, gives_up=never).run()
    assert asked == [[0, 3], [0, 3, 6], [0, 3, 6, 9]]
    assert (outcome.given_up, outcome.reason, outcome.steps) == (False, "", 12)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 12))
def test_trial_that_is_given_up_ends_there_with_its_reason(
    total: int, evaluations: int, at: int
) -> None:
    def at_point(curve: Sequence[CurvePoint]) -> str | None:
        return "far behind" if len(curve) > at else None

    whole = scripted([1.0] * total, evaluations=evaluations).run()
    outcome = scripted([1.0] * total, evaluations=evaluations, gives_up=at_point).run()
    if at >= len(whole.curve) - 1:  # at its end there is nothing left to give up
        assert same(outcome, whole)
        return
    assert (outcome.given_up, outcome.reason, outcome.diverged) == (True, "far behind", False)
    assert outcome.curve == whole.curve[: at + 1]
    assert (outcome.steps, outcome.samples) == (whole.curve[at].steps, whole.curve[at].samples)
    last = whole.curve[at]
    assert outcome.final == Evaluation(last.loss, last.accuracy)


def test_divergence_goes_before_giving_up() -> None:
    trial = scripted([1.0, nan, 1.0, 1.0], evaluations=2, gives_up=lambda _: "far behind")
    outcome = trial.run()
    assert (outcome.diverged, outcome.given_up) == (True, False)
    assert "not finite" in outcome.reason
    silent = scripted([1.0] * 4, evaluations=2, validation={2: inf}, gives_up=lambda _: "behind")
    outcome = silent.run()
    assert (outcome.diverged, outcome.given_up) == (True, False)


def test_trial_that_was_given_up_stays_so_through_a_checkpoint() -> None:
    first = scripted([1.0] * 12, evaluations=4, gives_up=lambda _: "far behind")
    outcome = first.run()
    again = scripted([1.0] * 12, evaluations=4)
    again.load_state_dict(through_a_file(first.state_dict()))
    assert again.finished
    assert again.outcome() == outcome
    again.advance()
    assert again.training.steps == outcome.steps == 3
