import json
import math
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tunecli.cli.delays import MOST_DELAYS, delay_list
from tunecli.errors import InvalidValueError

# gradient descent on the whole training set, a good way down in a second
MINIMUM = (
    "version: 1\n"
    "name: bowl\n"
    "learning_rate: 0.2\n"
    "model: {name: mlp, hidden: [8]}\n"
    "data: {name: digits}\n"
    "training: {evaluations: 2}\n"
    "schedule: {stages: 1, momentum: 0.0, discount: 0.0, batch_size: 1077, steps: 500}\n"
    "search: {grid: [0.1, 0.2]}\n"
)


@pytest.fixture
def trained(run: Run) -> Path:
    return train(run)


def train(run: Run, *overrides: str) -> Path:
    Path("bowl.yaml").write_text(MINIMUM, encoding="utf-8")
    done = run("train", "bowl.yaml", *overrides, "--run", "minimum", "--device", "cpu")
    assert done.exit_code == 0, done.output
    return Path("minimum")


def test_stability_json_is_the_threshold_of_shifted_momentum(run: Run) -> None:
    options = ["--delay", "16", "--momentum", "0.9", "--momentum-kind", "shifted", "--json"]
    (row,) = json.loads(run("stability", *options).stdout)
    assert row["delay"] == 16
    assert row["threshold"] == pytest.approx(0.12261, abs=5e-6)  # PAPERS.md's table
    assert (row["momentum"], row["momentum_kind"], row["discount"]) == (0.9, "shifted", 1.0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [2, 1, 0.347296, 0.0951638, 0.0483275]),
        (["--momentum-kind", "standard", "--momentum", "0.5"], [6, 1, 0.31170, 0.09049, 0.04699]),
        (["--momentum-kind", "standard", "--momentum", "0.9"], [38, 1, 0.26498, 0.07488, 0.04064]),
        (["--momentum-kind", "shifted", "--momentum", "0.5"], [6, 1.5, 0.43173, 0.11197, 0.05633]),
    ],
)
def test_stability_gives_the_thresholds_of_the_papers(
    run: Run, options: list[str], expected: list[float]
) -> None:
    rows = json.loads(run("stability", *options, "--delay", "0,1,4,16,32", "--json").stdout)
    assert [row["threshold"] for row in rows] == pytest.approx(expected, abs=5e-6)


def test_stability_table_has_the_inverse_the_factor_and_eq_8s_error(run: Run) -> None:
    done = run("stability", "--delay", "4", "--delay", "0")
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()[:1] in ("0", "4")]
    assert rows == [
        ["0", "2", "0.5", "1", "+57.1", "%"],
        ["4", "0.347296", "2.87939", "0.173648", "+0.51", "%"],
    ]


def test_stability_holds_eq_8_against_no_momentum_only(run: Run) -> None:
    options = ["--momentum-kind", "shifted", "--momentum", "0.9", "--delay", "4"]
    (row,) = json.loads(run("stability", *options, "--json").stdout)
    assert row["eq8_error"] is None
    assert "Eq. 8" not in run("stability", *options).stdout
    lines = run("stability", *options, "--momentum", "0").stdout.splitlines()
    assert "Eq. 8's error" in "".join(lines)
    plain, heavy = (line.split() for line in lines if line.strip()[:1] == "0")
    assert plain[-2:] == ["+0.51", "%"]
    assert heavy[-1] == "–"


def test_stability_of_several_momenta_has_a_row_for_each(run: Run) -> None:
    options = ["--momentum", "0.5", "--momentum", "0", "--momentum-kind", "standard"]
    rows = json.loads(run("stability", *options, "--delay", "1-2", "--json").stdout)
    assert [(row["momentum"], row["delay"]) for row in rows] == [(0, 1), (0, 2), (0.5, 1), (0.5, 2)]
    assert "momentum" in run("stability", *options).stdout


def test_stability_of_measured_delays_tells_mean_and_mean_square(run: Run) -> None:
    Path("delays.csv").write_text("delay,count\n0,1\n10,1\n", encoding="utf-8")
    (row,) = json.loads(run("stability", "--delay-histogram", "delays.csv", "--json").stdout)
    assert row["delay"]["mean"] == 5
    assert 0 < row["threshold"] < row["mean_threshold"]
    assert "Eq. 19" in run("stability", "--delay-histogram", "delays.csv").stdout


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_stability_draws_what_it_prints(run: Run, name: str, start: bytes) -> None:
    done = run("stability", "--delay", "0-4", "--plot", name)
    assert done.exit_code == 0, done.output
    assert Path(name).read_bytes().startswith(start)
    assert f"drawn in {name}" in done.stderr


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (["16"], (16,)),
        (["0,1,4"], (0, 1, 4)),
        (["0-3"], (0, 1, 2, 3)),
        (["0-64:32"], (0, 32, 64)),
        (["0-63:32"], (0, 32)),
        (["4-4", "2", " 3 , 2"], (2, 3, 4)),
    ],
)
def test_delays_are_listed_in_order_and_once(spans: list[str], expected: tuple[int, ...]) -> None:
    assert delay_list(spans) == expected


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ("", "but got nothing"),
        ("x", "but got x"),
        ("-1", "whole number ≥ 0"),
        ("1.5", "but got 1.5"),
        ("1,,2", "but got nothing"),
        ("3-1", "turn it around: 1-3"),
        ("0-4:0", "the step of a range of delays must be ≥ 1"),
        ("1000001", "at most 1,000,000"),
        (f"0-{MOST_DELAYS}", "at most 10,000 but got 10001"),
    ],
)
def test_delays_that_are_none_are_refused(span: str, words: str) -> None:
    with pytest.raises(InvalidValueError, match="delay") as refused:
        delay_list([span])
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--delay", "3-1"], "a range of delays must go up"),
        (["--momentum", "0.9"], "--momentum needs --momentum-kind standard or shifted"),
        (["--discount", "0.5"], "--discount needs --momentum-kind"),
        (["--momentum-kind", "shifted"], "needs a momentum"),
        (["--momentum", "1", "--momentum-kind", "shifted"], "momentum must be in [0, 1)"),
        (["--momentum", "nan", "--momentum-kind", "shifted"], "momentum must be in [0, 1)"),
        (["--momentum-kind", "late"], "is not one of 'none', 'standard', 'shifted'"),
        (["--delay", "1", "--delay-histogram", "x"], "exclude each other"),
        (["--delay-histogram", "none.json"], "none.json: there is no such file"),
        (["--plot", "a.pdf"], "must be a file that ends in .png or .svg but got a.pdf"),
        (["--empirical"], "--empirical needs --checkpoint"),
        (["--run", "x"], "--run needs --empirical"),
        (["--hold"], "--hold needs --empirical"),
        (["--checkpoint", ".", "--empirical", "--nudge", "1"], "nudge must be in (0, 1)"),
        (["--tolerance", "0.1"], "--tolerance needs --checkpoint"),
        (["--checkpoint", "none"], "none does not exist; name a folder that `tunecli train`"),
        (["--checkpoint", "."], "model.pt is not there"),
        (["--checkpoint", ".", "--empirical", "--plot", "a.png"], "gets a stability.png"),
        (["--checkpoint", ".", "--tolerance", "0"], "tolerance must be in (0, 1)"),
        (["--resume", "x", "--delay", "1"], "--resume must stand alone"),
    ],
)
def test_stability_mistakes_end_in_a_sentence(run: Run, arguments: list[str], words: str) -> None:
    done = run("stability", *arguments)
    assert done.exit_code == 2, done.output
    assert words in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert not Path("runs").exists()


def test_stability_at_a_checkpoint_divides_by_the_sharpness(run: Run, trained: Path) -> None:
    options = ["--delay", "0,4", "--device", "cpu", "--json"]
    done = run("stability", "--checkpoint", trained, *options)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    sharpness = result["minimum"]["sharpness"]
    assert sharpness["converged"]
    assert 0 < sharpness["residual"] <= 1e-3 * sharpness["value"]
    rates = [rate["learning_rate"] for rate in result["rates"]]
    assert rates == pytest.approx([t / sharpness["value"] for t in (2, 2 * math.sin(math.pi / 18))])
    for rate in result["rates"]:  # first-order propagation of the residual
        share = sharpness["residual"] / sharpness["value"]
        assert rate["error"] == pytest.approx(rate["learning_rate"] * share)
    by_file = run("stability", "--checkpoint", trained / "model.pt", *options)
    assert json.loads(by_file.stdout) == result
    assert "λ_max" in run("stability", "--checkpoint", trained, "--delay", "4").stdout


def test_stability_warns_where_there_is_no_minimum_yet(run: Run) -> None:
    early = train(run, "schedule.steps=20")
    options = ["--delay", "4", "--device", "cpu", "--max-iterations", "2", "--json"]
    result = json.loads(run("stability", "--checkpoint", early, *options).stdout)
    assert len(result["warnings"]) == 3
    for words in ("has not converged after 2 products", "hardly a minimum", "not a minimum yet"):
        assert any(words in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    "section",
    [
        "num_workers: 5",
        "num_workers: 5, momentum_kind: shifted",
        "num_workers: 2, engine: processes",
    ],
)
def test_stability_loads_the_weights_of_an_asynchronous_training(run: Run, section: str) -> None:
    trained = train(
        run,
        "schedule.steps=60",
        "schedule.batch_size=32",
        "training.algorithm=asynchronous",
        "training.asynchronous={" + section + "}",
    )
    options = ["--delay", "4", "--device", "cpu", "--json"]
    done = run("stability", "--checkpoint", trained, *options)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert 0 < result["minimum"]["loss"] < math.log(10)  # trained, not as it was initialized
    others = [each for each in result["warnings"] if "the recipe trains with" in each]
    assert len(others) == (section != "num_workers: 5")


def test_stability_refuses_weights_of_another_model(run: Run, trained: Path) -> None:
    recipe = trained / "recipe.yaml"
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("hidden: [8]", "hidden: [9]"), encoding="utf-8"
    )
    done = run("stability", "--checkpoint", trained, "--device", "cpu")
    assert done.exit_code == 1
    assert "does not hold the weights of the model in" in done.stderr
    (trained / "model.pt").write_bytes(b"no weights")
    assert run("stability", "--checkpoint", trained, "--device", "cpu").exit_code == 1


def test_stability_refuses_a_delay_beyond_the_memory_and_leaves_no_folder(
    run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunecli.execution.stability_plan.free_memory", lambda device: 1 << 20)
    question = ["--checkpoint", trained, "--empirical", "--delay", "0,1000000", "--device", "cpu"]
    done = run("stability", *question)
    assert done.exit_code == 2
    assert "delay must be at most " in done.stderr
    assert "but got 1,000,000; its 1,000,001 gradients on their way need " in done.stderr
    assert not Path("runs").exists()


def test_stability_measured_is_a_run_that_can_be_shown_again(run: Run, trained: Path) -> None:
    options = ["--delay", "0,2", "--updates-per-delay", "60", "--device", "cpu"]
    question = ["--checkpoint", trained, "--empirical", "--hold", *options]
    done = run("stability", *question, "--run", "measured", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert [point["delay"] for point in result["points"]] == [0, 2]
    assert result["hold"]
    assert "--hold" in result["command"]
    for point in result["points"]:
        assert point["ratio"] == pytest.approx(point["measured"] / point["predicted"])
        assert point["measured"] < point["left_at"] <= 1.0101 * point["measured"]
    assert {path.name for path in Path("measured").iterdir()} == {
        *("lock", "recipe.yaml", "run.json", "measured.jsonl", "stability.png", "result.json")
    }
    again = run("stability", "--resume", "measured", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == result
    table = run("stability", "--resume", "measured").stdout
    assert "measured/predicted" in table
    assert "2a/π" in table


@pytest.mark.parametrize("more", [[], ["--empirical"]])
def test_stability_refuses_another_loss_than_it_measures(run: Run, more: list[str]) -> None:
    minimum = train(run, "loss={name: cross_entropy, label_smoothing: 0.1}", "schedule.steps=2")
    done = run("stability", "--checkpoint", minimum, *more, "--device", "cpu")
    assert done.exit_code == 2
    assert "loss must be cross_entropy, plain, for `tunecli stability`" in done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["bowl.yaml", "minimum"]
