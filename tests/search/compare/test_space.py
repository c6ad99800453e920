import optuna
import pytest

from tunecli.recipe import Recipe, derive_schedule, find_recipe, load_recipe
from tunecli.search.compare.space import make_space, schedule_for


def drawn(recipe: Recipe, *, joint: bool, count: int = 200) -> list[dict[str, float]]:
    space = make_space(recipe, joint=joint, training_samples=1077)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [space.suggest(study.ask()) for _ in range(count)]


def test_learning_rates_are_drawn_by_their_logarithm(recipe: Recipe) -> None:
    rates = [chosen["learning_rate"] for chosen in drawn(recipe, joint=False)]
    assert 0.001 <= min(rates) < 0.002
    assert 5 < max(rates) <= 10
    below = sum(rate < 0.1 for rate in rates)  # half the range on a log scale, 1 % of it otherwise
    assert 70 < below < 130


def test_joint_space_covers_five_parameters() -> None:
    chosen = drawn(load_recipe(find_recipe("digits-mlp")), joint=True)
    assert all(len(parameters) == 5 for parameters in chosen)
    for name, low, high in [
        ("momentum", 0.0, 0.99),
        ("discount", 0.0, 1.0),
        ("batch_size", 32, 256),
        ("decay", 0.4, 0.8),
    ]:
        values = [parameters[name] for parameters in chosen]
        margin = 0.1 * (high - low)
        assert low <= min(values) < low + margin, name
        assert high - margin < max(values) <= high, name


def test_every_joint_trial_trains_within_the_samples_of_one_of_the_recipe() -> None:
    recipe = load_recipe(find_recipe("digits-mlp"))
    whole = derive_schedule(recipe.schedule, 0.1, 1077).samples
    for parameters in drawn(recipe, joint=True):
        schedule = schedule_for(recipe, parameters, 1077)
        assert 0.9 * whole < schedule.samples <= whole
        assert schedule.stages[0].batch_size == parameters["batch_size"]
        assert schedule.stages[0].momentum == pytest.approx(parameters["momentum"])


def test_batch_sizes_that_do_not_train_are_left_out() -> None:
    recipe = load_recipe(find_recipe("digits-logistic"), ["schedule.stages=6", "schedule.epochs=1"])
    space = make_space(recipe, joint=True, training_samples=1077)
    low, high = space.batch_sizes
    assert 32 < low <= 64 <= high < 256
    for parameters in drawn(recipe, joint=True):
        assert schedule_for(recipe, parameters, 1077).samples > 0


def test_schedule_of_the_learning_rate_alone_is_the_recipes(recipe: Recipe) -> None:
    found = schedule_for(recipe, {"learning_rate": 0.3}, 1077)
    assert found == derive_schedule(recipe.schedule, 0.3, 1077)


def test_grid_has_the_recipes_rates_or_a_few_levels_each() -> None:
    recipe = load_recipe(find_recipe("digits-mlp"))
    alone = make_space(recipe, joint=False, training_samples=1077).grid
    assert alone == {"learning_rate": list(recipe.search.learning_rates)}
    joint = make_space(recipe, joint=True, training_samples=1077).grid
    rates = recipe.search.learning_rates
    assert joint["learning_rate"] == [rates[i] for i in (0, 2, 4, 6, 8)]
    assert all(2 <= len(levels) <= 5 for levels in joint.values())
