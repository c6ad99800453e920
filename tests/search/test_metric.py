"""What the metric's values mean, against models that do what the baseline supposes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tunecli.data.load import Split
from tunecli.recipe import Recipe, find_recipe, load_recipe
from tunecli.search.metric import metric_of
from tunecli.training import CurvePoint, Evaluation, TrialOutcome

ACCURACY = metric_of(load_recipe(find_recipe("digits-mlp")))
LOSS = metric_of(load_recipe(find_recipe("digits-mlp"), ["search.metric=loss"]))
POOR = Evaluation(
    loss=50.0, accuracy=0.0
)  # an untrained network that is worse than knowing nothing


def _split(counts: list[int]) -> Split:
    targets = torch.tensor([label for label, n in enumerate(counts) for _ in range(n)])
    return Split(inputs=torch.zeros(len(targets), 1, 1, 1), targets=targets)


def _outcome(untrained: Evaluation, final: Evaluation | None) -> TrialOutcome:
    return TrialOutcome(
        diverged=final is None,
        reason="" if final else "training loss not finite",
        untrained=untrained,
        final=final,
        steps=3,
        samples=30,
        seconds=0.1,
        batch_sizes=((10, 3),),
        curve=(CurvePoint(0, 0, None, untrained.loss, untrained.accuracy),),
    )


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_baseline_of_balanced_classes_is_chance(classes: int) -> None:
    split = _split([30] * classes)
    assert ACCURACY.baseline(POOR, split.targets) == pytest.approx(1 / classes)
    assert LOSS.baseline(POOR, split.targets) == pytest.approx(math.log(classes))


@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any))
def test_baseline_is_the_best_that_one_answer_for_all_inputs_reaches(counts: list[int]) -> None:
    split = _split(counts)
    right = [(split.targets == label).double().mean().item() for label in range(len(counts))]
    assert ACCURACY.baseline(POOR, split.targets) == pytest.approx(max(right))
    # the best constant logits, up to 1e-12 for the classes that never occur
    logits = torch.log(torch.tensor(counts).double() / sum(counts) + 1e-12)
    loss = cross_entropy(logits.expand(len(split), -1), split.targets).item()
    assert LOSS.baseline(POOR, split.targets) == pytest.approx(loss, abs=1e-9)


def test_baseline_is_the_untrained_network_where_that_is_better() -> None:
    good, split = Evaluation(loss=0.2, accuracy=0.8), _split([10, 10])
    assert ACCURACY.baseline(good, split.targets) == 0.8
    assert LOSS.baseline(good, split.targets) == 0.2


evaluations = st.builds(Evaluation, loss=st.floats(1e-6, 1e6), accuracy=st.floats(0, 1))


@given(untrained=evaluations, final=evaluations, factor=st.floats(1.001, 1e3))
def test_worst_is_finite_and_never_better_than_an_outcome(
    untrained: Evaluation, final: Evaluation, factor: float
) -> None:
    diverged, finished = _outcome(untrained, None), _outcome(untrained, final)
    accuracy, loss = ACCURACY, LOSS
    assert accuracy.value(diverged, factor) <= accuracy.value(finished, factor)
    assert math.isfinite(loss.value(diverged, factor))
    assert untrained.loss is not None
    assert final.loss is not None
    assert loss.value(diverged, factor) > untrained.loss
    if final.loss <= factor * untrained.loss:  # see `worst`: what is above has all but diverged
        assert loss.value(diverged, factor) >= loss.value(finished, factor)


def test_value_of_a_finished_trial_is_its_last_evaluation() -> None:
    outcome = _outcome(POOR, Evaluation(loss=0.25, accuracy=0.9))
    assert ACCURACY.value(outcome, 10) == 0.9
    assert LOSS.value(outcome, 10) == 0.25
    assert LOSS.of(outcome.curve[0]) == 50.0


def test_direction_and_perfect_value_follow_the_metric() -> None:
    assert (ACCURACY.maximize, ACCURACY.perfect) == (True, 1.0)
    assert (LOSS.maximize, LOSS.perfect) == (False, 0.0)


def test_nothing_is_known_of_the_least_loss_that_a_script_can_report() -> None:
    """A log-likelihood goes below zero: −226 is not further from perfect than −2."""
    recipe = Recipe.model_validate(
        {
            "version": 1,
            "name": "flow",
            "command": ["train", "{learning_rate}"],
            "schedule": {"batch_size": 8, "steps": 10},
            "search": {"grid": [0.1, 0.2], "metric": "loss"},
        }
    )
    metric = metric_of(recipe)
    assert (metric.maximize, metric.perfect) == (False, None)
    assert metric.baseline(Evaluation(loss=-2.0, accuracy=None)) == -2.0
    assert metric.worst(Evaluation(loss=-2.0, accuracy=None), 10.0) > -2.0
