import csv
import io
import json
import math
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tests.cli.conftest import Run
from tunecli.cli import delays
from tunecli.cli.schedule import DEFAULTS
from tunecli.recipe import ScheduleSection
from tunecli.recipe import delays as reading
from tunecli.theory import delay_scaling, stability

NUMBERS = [
    *("--learning-rate", "0.3", "--momentum", "0.9", "--batch-size", "256", "--steps", "1000"),
    *("--stages", "3", "--decay", "0.5", "--batch-decay", "0.5"),
]


def test_schedule_json_is_the_list_of_stages(run: Run) -> None:
    done = run("schedule", *NUMBERS, "--format", "json")
    stages = json.loads(done.stdout)
    assert [stage["learning_rate"] for stage in stages] == [0.3, 0.15, 0.075]
    assert [round(stage["momentum"], 6) for stage in stages] == [0.9, 0.947368, 0.972973]
    assert [stage["batch_size"] for stage in stages] == [256, 128, 64]
    assert [stage["steps"] for stage in stages] == [1000, 2000, 4000]
    assert [stage["discount"] for stage in stages] == [0.5] * 3
    assert json.loads(run("schedule", *NUMBERS, "--json").stdout) == stages


def test_schedule_formats_say_the_same(run: Run) -> None:
    stages = json.loads(run("schedule", *NUMBERS, "--format", "json").stdout)
    assert yaml.safe_load(run("schedule", *NUMBERS, "--format", "yaml").stdout) == stages
    rows = csv.DictReader(io.StringIO(run("schedule", *NUMBERS, "--format", "csv").stdout))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == stages


def test_schedule_table_has_both_units_and_the_conditions(run: Run) -> None:
    done = run("schedule", *NUMBERS, "--samples", "51200")
    text = " ".join(done.stdout.split())
    assert "epochs" in text
    assert "7,000" in text  # updates
    assert "15.00" in text  # epochs
    assert "✓ momentum growth" in text
    assert "(binding: the least to spare)" in text
    assert "L ≤ 0.01091" in text


def test_schedule_says_what_fails_and_what_to_change(run: Run) -> None:
    done = run("schedule", *NUMBERS, "--stages", "5")
    assert "✗ momentum growth" in done.stdout
    assert "use at most 4 stages" in done.stdout
    quiet = run("schedule", *NUMBERS, "--stages", "5", "--format", "json")
    assert "momentum growth" in quiet.stderr
    assert len(json.loads(quiet.stdout)) == 5


def test_schedule_checks_the_step_size_when_it_knows_the_smoothness(run: Run) -> None:
    done = run("schedule", *NUMBERS, "--smoothness", "0.02")
    assert "✗ step size" in done.stdout
    assert "use a learning_rate of at most 0.1636" in done.stdout


def test_schedule_gives_the_bounds_terms(run: Run) -> None:
    one = ["--learning-rate", "0.1", "--batch-size", "8", "--steps", "100", "--stages", "1"]
    bound = ["--smoothness", "1", "--gradient-variance", "2", "--loss-gap", "3"]
    done = run("schedule", *one, "--momentum", "0", *bound)
    # 2·3/(1·0.1·100) and (1 + 6)·0.1·1·2
    assert "ε_d + ε_s = 0.6 + 1.4 = 2" in " ".join(done.stdout.split())
    partial = run("schedule", *one, "--loss-gap", "3")
    assert partial.exit_code == 2
    assert "give all three" in partial.stderr


def test_schedule_of_a_recipe_takes_options_first(run: Run, quick: Path) -> None:
    of_recipe = json.loads(run("schedule", quick, "--learning-rate", "0.4", "--json").stdout)
    assert [stage["batch_size"] for stage in of_recipe] == [32, 16]
    changed = run("schedule", quick, "--learning-rate", "0.4", "--steps", "10", "--json")
    assert [stage["steps"] for stage in json.loads(changed.stdout)] == [10, 20]
    overridden = run("schedule", quick, "learning_rate=0.4", "schedule.stages=1", "--json")
    assert len(json.loads(overridden.stdout)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "learning_rate is missing; give --learning-rate"),
        (["--learning-rate", "0.1"], "batch_size is missing; give --batch-size"),
        (["--learning-rate", "0.1", "--batch-size", "8"], "give `steps`"),
        ([*NUMBERS, "--epochs", "3"], "not both"),
        ([*NUMBERS, "--momentum", "1"], "momentum must be in [0, 1) but got 1.0"),
        ([*NUMBERS, "--learning-rate", "-1"], "learning_rate must be"),
        ([*NUMBERS, "--learning-rate", "nan"], "learning_rate must be"),
        ([*NUMBERS, "--batch-decay", "0.7"], "batch_decay must be in (0, decay = 0.5]"),
        ([*NUMBERS, "--stages", "12"], "batch_size of stage 11 must be ≥ 1"),
        ([*NUMBERS, "--smoothness", "0"], "smoothness must be"),
        ([*NUMBERS, "--json", "--format", "csv"], "exclude each other"),
        ([*NUMBERS, "--samples", "0"], "samples must be"),
        (["--learning-rate", "0.1", "--batch-size", "8", "--epochs", "2"], "give --samples"),
    ],
)
def test_schedule_mistakes_end_in_a_sentence(run: Run, arguments: list[str], words: str) -> None:
    done = run("schedule", *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert done.stdout == ""


def test_schedule_defaults_are_those_of_a_recipe() -> None:
    fields = ScheduleSection.model_fields
    assert {name: fields[name].default for name in DEFAULTS} == DEFAULTS


ASYNCHRONOUS = [*NUMBERS, "--asynchronous"]
WORKERS_RECIPE = (
    "training:\n"
    "  algorithm: asynchronous\n"
    "  asynchronous: {num_workers: 16, momentum_kind: shifted, scaling: eq8}\n"
)


def asynchronous(quick: Path, text: str = WORKERS_RECIPE) -> Path:
    recipe = quick.read_text(encoding="utf-8").replace("training: {evaluations: 2}\n", text)
    quick.write_text(recipe, encoding="utf-8")
    return quick


def test_schedule_under_delay_scales_every_stage_exactly(run: Run) -> None:
    result = json.loads(run("schedule", *ASYNCHRONOUS, "--delay", "31", "--json").stdout)
    factor = math.sin(math.pi / (4 * 31 + 2))
    assert result["learning_rate"] == pytest.approx(0.3 * factor)
    assert result["scaling"]["rule"] == "exact"
    assert result["scaling"]["factor"] == pytest.approx(factor)
    assert result["delay"] == {"kind": "constant", "mean": 31.0, "delay": 31}
    assert result["schedule"] == json.loads(run("schedule", *NUMBERS, "--json").stdout)
    scaled = [stage["learning_rate"] for stage in result["scaled_schedule"]]
    assert scaled == pytest.approx([rate * factor for rate in (0.3, 0.15, 0.075)])
    assert [stage["momentum"] for stage in result["scaled_schedule"]] == [0.0] * 3
    errors = {each["rule"]: each["error"] for each in result["scaling"]["approximations"]}
    assert errors["eq8"] == pytest.approx(math.pi / (4 * 31.5) / factor - 1)
    assert errors.keys() == {"mean", "eq8", "inverse", "inverse-plus-one"}


def test_schedule_counts_n_workers_as_a_delay_of_one_less(run: Run) -> None:
    by_workers = json.loads(run("schedule", *ASYNCHRONOUS, "--workers", "32", "--json").stdout)
    by_delay = json.loads(run("schedule", *ASYNCHRONOUS, "--delay", "31", "--json").stdout)
    assert by_workers["delay"].pop("num_workers") == 32
    assert by_workers == by_delay
    table = " ".join(run("schedule", *ASYNCHRONOUS, "--workers", "32").stdout.split())
    assert "learning_rate 0.00747921 = 0.3 × 0.0249307 at delay 31" in table
    assert "32 − 1 = 31 updates late" in table
    assert "STAB Eq. 6" in table
    assert "Momentum 0.9 is dropped" in table
    assert "inverse: 1/τ 0.0322581 0.00967742 +29.4 %" in table


def test_schedule_without_delay_is_left_as_it_is(run: Run) -> None:
    options = ["--delay", "0", "--momentum-kind", "standard", "--json"]
    result = json.loads(run("schedule", *ASYNCHRONOUS, *options).stdout)
    assert result["scaled_schedule"] == result["schedule"]
    eq8 = [*ASYNCHRONOUS, *options, "--scaling", "eq8"]
    assert json.loads(run("schedule", *eq8).stdout)["scaling"]["error"] == pytest.approx(
        math.pi / 2 - 1
    )


def test_schedule_of_random_delays_keeps_the_mean_square_stable(run: Run) -> None:
    Path("delays.json").write_text('{"0": 500, "10": 500}', encoding="utf-8")
    options = [*ASYNCHRONOUS, "--delay-histogram", "delays.json"]
    result = json.loads(run("schedule", *options, "--json").stdout)
    assert result["delay"]["mean"] == 5
    of_mean = next(e for e in result["scaling"]["approximations"] if e["rule"] == "mean")
    assert of_mean["error"] > 0
    table = " ".join(run("schedule", *options).stdout.split())
    assert "mean-square stability" in table
    assert f"Eq. 19) would have said {of_mean['learning_rate']:.6g}" in table


def test_schedule_formats_under_delay_print_the_scaled_stages(run: Run) -> None:
    options = [*ASYNCHRONOUS, "--delay", "3"]
    stages = json.loads(run("schedule", *options, "--json").stdout)["scaled_schedule"]
    assert yaml.safe_load(run("schedule", *options, "--format", "yaml").stdout) == stages
    rows = csv.DictReader(io.StringIO(run("schedule", *options, "--format", "csv").stdout))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == stages


def test_schedule_of_an_asynchronous_recipe_needs_no_option(run: Run, quick: Path) -> None:
    recipe = asynchronous(quick)
    result = json.loads(run("schedule", recipe, "learning_rate=0.4", "--json").stdout)
    assert result["delay"] == {"kind": "constant", "mean": 15.0, "delay": 15, "num_workers": 16}
    assert result["scaling"]["rule"] == "eq8"
    assert result["scaling"]["momentum_kind"] == "shifted"
    assert result["learning_rate"] == pytest.approx(0.4 * math.pi / 62)
    options = ["--delay", "3", "--scaling", "exact", "--momentum-kind", "none", "--json"]
    given = json.loads(run("schedule", recipe, "learning_rate=0.4", *options).stdout)
    assert given["learning_rate"] == pytest.approx(0.4 * math.sin(math.pi / 14))


def test_schedule_of_a_recipe_whose_delay_is_measured_asks_for_it(run: Run, quick: Path) -> None:
    measured = WORKERS_RECIPE.replace("{num", "{engine: processes, num")
    done = run("schedule", asynchronous(quick, measured), "learning_rate=0.4")
    assert done.exit_code == 2
    assert "known only once they are measured" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--asynchronous"], "--asynchronous needs a delay; give --delay 31, --workers 32"),
        (["--delay", "3"], "--delay needs --asynchronous"),
        (["--scaling", "exact"], "--scaling needs --asynchronous"),
        (["--asynchronous", "--delay", "3", "--workers", "4"], "exclude each other"),
        (["--asynchronous", "--delay", "-1"], "delay must be in [0, 1,000,000] but got -1"),
        (["--asynchronous", "--workers", "0"], "workers must be in [1, 1,000,000] but got 0"),
        (["--asynchronous", "--delay-histogram", "none.json"], "there is no such file"),
        (["--asynchronous", "--delay", "0", "--scaling", "inverse"], "positive for 1/τ"),
        (["--asynchronous", "--delay", "3", "--smoothness", "1"], "which knows no delay"),
        (["--asynchronous", "--delay", "3", "--scaling", "square"], "is not one of 'exact'"),
        (["--asynchronous", "--delay", "3", "--momentum-kind", "late"], "is not one of 'none'"),
    ],
)
def test_schedule_mistakes_about_delay_end_in_a_sentence(
    run: Run, arguments: list[str], words: str
) -> None:
    done = run("schedule", *NUMBERS, *arguments)
    assert done.exit_code == 2, done.output
    assert words in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_names_of_kinds_and_rules_are_the_theorys() -> None:
    assert get_args(delays.MomentumKind) == get_args(stability.MomentumKind)
    assert get_args(delays.ScalingRule) == get_args(delay_scaling.ScalingRule)
    assert reading.LARGEST_DELAY == delays.LARGEST_DELAY


def test_a_clock_is_counted_for_the_schedule(run: Run) -> None:
    clock = "training.asynchronous={delay: {name: clock, speeds: [1, 1, 1, 0.1]}}"
    done = run("schedule", "digits-asynchronous", clock, "--learning-rate", 0.4, "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["delay"]["kind"] == "histogram"
    assert abs(result["delay"]["mean"] - 3) < 0.1
    assert 0.2 < result["scaling"]["factor"] < 0.7


def test_a_staleness_aware_recipe_keeps_its_rates_and_says_why(run: Run) -> None:
    aware = "training.asynchronous={num_workers: 16, staleness_aware: true}"
    done = run("schedule", "digits-asynchronous", aware, "--learning-rate", 0.4)
    assert "every update is scaled by its own delay" in done.stdout
    assert "scaling none" not in done.stdout
    done = run("schedule", "digits-asynchronous", aware, "--learning-rate", 0.4, "--json")
    assert json.loads(done.stdout)["scaling"]["factor"] is None
