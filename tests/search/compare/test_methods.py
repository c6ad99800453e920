import pytest

from tunecli.errors import InvalidValueError
from tunecli.search.compare.methods import METHODS, choose_methods, make_study
from tunecli.search.compare.space import Space

SPACE = Space((0.1, 0.2, 0.4), joint=False, batch_sizes=(32, 256))


def test_every_optuna_method_comes_alone_and_joint() -> None:
    alone = {name for name, method in METHODS.items() if method.group == "learning_rate"}
    joint = {name for name, method in METHODS.items() if method.group == "joint"}
    assert alone == {"tpe", "random", "grid", "gp", "tpe-hyperband", "tpe-median"}
    assert joint == {f"{name}-joint" for name in alone}
    assert METHODS["tpe"].parameters == ("learning_rate",)
    assert len(METHODS["tpe-joint"].parameters) == 5


def test_choice_puts_ours_first_and_drops_repeats() -> None:
    assert [m.name for m in choose_methods(["gp", "tunecli", "gp"])] == ["tunecli", "gp"]
    assert [m.name for m in choose_methods(None)] == list(METHODS)


@pytest.mark.parametrize(
    ("name", "words"),
    [("tpee", "did you mean tpe?"), ("", "choose among them"), ("TPE ", "got 'TPE '")],
)
def test_unknown_method_is_a_sentence(name: str, words: str) -> None:
    with pytest.raises(InvalidValueError, match="methods must be among tunecli, tpe") as caught:
        choose_methods(["tpe", name])
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [name for name, one in METHODS.items() if one.is_optuna])
def test_a_seed_gives_the_same_first_trials_again(name: str) -> None:
    method = METHODS[name]
    space = Space((0.1, 0.2, 0.4), method.group == "joint", (32, 256))

    def first(seed: int) -> list[dict[str, float]]:
        study = make_study(method, space, seed=seed, evaluations=10, maximize=True)
        chosen = []
        for value in (0.5, 0.7):
            trial = study.ask()
            chosen.append(space.suggest(trial))
            study.tell(trial, value)
        return chosen

    assert first(1) == first(1)
    if name != "grid":  # three rates in shuffled order can be the same ones twice
        assert first(1) != first(2)


def test_grid_search_sees_every_rate_once() -> None:
    study = make_study(METHODS["grid"], SPACE, seed=0, evaluations=10, maximize=True)
    study.optimize(lambda trial: SPACE.suggest(trial)["learning_rate"])
    rates = [trial.params["learning_rate"] for trial in study.trials]
    assert sorted(rates) == [0.1, 0.2, 0.4]
