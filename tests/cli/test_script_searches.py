"""Whole searches over scripts that behave, and over scripts that do not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run

# what every script begins with: a value that is best at a rate of 0.2
_HEAD = """
import json, os, subprocess, sys, time
rate = float(os.environ["TUNECLI_LEARNING_RATE"])
value = 1 - abs(rate - 0.2)
def answer(**keys): print(json.dumps(keys), flush=True)
"""
GOOD = "answer(value=value)"
RECIPE = """version: 1
name: scripted
command: ["{python}", train.py, "{learning_rate}"]
script: {answer_timeout_s: TIMEOUT, grace_s: 0.5, log_mb: 1}
schedule: {batch_size: 8, steps: 10}
search: {strategy: paper, grid: [0.1, 0.2, 0.4], test_seeds: [7]}
"""

# each spoils the trial at the second rate, which is not the first one that a search looks at
HOSTILE = {
    "nothing": ("pass", "without a value"),
    "no result": ("answer(train_loss=1.0)", "without a value"),
    "exit 3": ("answer(value=0.5); sys.exit(3)", "exit status 3"),
    "a bug": ("raise RuntimeError('mine')", "mine"),
    "a signal": ("os.kill(os.getpid(), 11)", "SIGSEGV"),
    "a bad answer": ("answer(value='high')", "value must be"),
    "a hang": ("answer(step=0, value=0.1); time.sleep(600)", "has not answered"),
}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("TIMEOUT", "60"), encoding="utf-8")
    return tmp_path / "train.py"


def at_second_rate(code: str) -> str:
    """A script that is good at all rates but one."""
    return f"{_HEAD}\nif rate == 0.2:\n    {code}\nelse:\n    {GOOD}\n"


@pytest.mark.parametrize(("code", "told"), HOSTILE.values(), ids=HOSTILE)
def test_search_stops_with_a_sentence_and_goes_on_when_the_script_is_mended(
    run: Run, train: Path, code: str, told: str
) -> None:
    if "sleep" in code:
        train.with_name("r.yaml").write_text(RECIPE.replace("TIMEOUT", "2"), encoding="utf-8")
    train.write_text(at_second_rate(code), encoding="utf-8")
    done = run("search", "r.yaml", "--run", "r", "--trust")
    assert done.exit_code == 1, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert told in done.stderr
    assert "--resume" in done.stderr
    assert not Path("r/result.json").exists()
    train.write_text(_HEAD + GOOD, encoding="utf-8")
    done = run("search", "--resume", "r", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["learning_rate"] == 0.2
    assert [trial["learning_rate"] for trial in result["trials"]] == [0.1, 0.2, 0.4]


def test_a_gigabyte_of_garbage_is_no_answer_and_does_no_harm(run: Run, train: Path) -> None:
    flood = (
        "chunk = (b'\\xff\\x00{\"value\": \\n' + b'x' * 1000 + b'\\n') * 1000; "
        "[sys.stdout.buffer.write(chunk) for _ in range(1000)]; "
        'print("{}"); print("[1]"); print(\'{"epoch": 3}\'); ' + GOOD
    )
    train.write_text(at_second_rate(flood), encoding="utf-8")
    done = run("search", "r.yaml", "--run", "r", "--trust", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["learning_rate"] == 0.2
    sizes = [log.stat().st_size for log in Path("r").rglob("script.log")]
    assert max(sizes) <= 1.1e6


@pytest.mark.parametrize(
    "code",
    ['answer(value=float("nan"))', 'answer(value=0.5, train_loss=float("inf"))',
     "answer(diverged=True)"],
)  # fmt: skip
def test_what_is_not_finite_is_divergence_and_ends_the_walk(
    run: Run, train: Path, code: str
) -> None:
    train.write_text(at_second_rate(code), encoding="utf-8")
    done = run("search", "r.yaml", "--run", "r", "--trust", "--json")
    assert done.exit_code == 4, done.output  # the best rate is the smallest one
    result = json.loads(done.stdout)
    assert result["stop"]["reason"] == "diverged"
    assert [trial["state"] for trial in result["trials"]] == ["complete", "diverged"]


def test_a_crash_can_be_told_to_mean_divergence(run: Run, train: Path) -> None:
    train.write_text(at_second_rate("sys.exit('loss is nan')"), encoding="utf-8")
    done = run("search", "r.yaml", "script.failure=diverged", "--run", "r", "--trust", "--json")
    assert done.exit_code == 4, done.output
    assert "loss is nan" in json.loads(done.stdout)["trials"][1]["reason"]


def test_children_that_ignore_the_end_are_gone_when_the_search_is(
    run: Run, train: Path, tmp_path: Path
) -> None:
    stubborn = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('ready', flush=True); time.sleep(600)"
    )
    code = (
        f"p = subprocess.Popen([sys.executable, '-c', {stubborn!r}], stdout=subprocess.PIPE); "
        "p.stdout.readline(); open('pids', 'a').write(f'{p.pid}\\n'); " + GOOD
    )
    train.write_text(at_second_rate(code), encoding="utf-8")
    done = run("search", "r.yaml", "--run", "r", "--trust")
    assert done.exit_code == 0, done.output
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2  # of the trial, and of the final training
    assert not [pid for pid in pids if _is_alive(pid)]


def test_two_scripts_side_by_side_find_what_one_finds(run: Run, train: Path) -> None:
    train.write_text(_HEAD + GOOD, encoding="utf-8")
    found = [
        json.loads(run("search", "r.yaml", "--trust", "--json", "--workers", n).stdout)
        for n in (1, 2)
    ]
    for result in found:
        assert result["learning_rate"] == 0.2
        assert result["schedule_is_advice"]
        assert result["test"]["split"] == "validation"
        assert any("samples" in warning for warning in result["warnings"])
    assert found[0]["stop"] == found[1]["stop"]


def test_script_that_takes_the_schedule_is_billed_by_it(run: Run, train: Path) -> None:
    takes = (
        "stages = json.load(open(os.environ['TUNECLI_SCHEDULE']))['stages']\n"
        "assert [s['steps'] for s in stages] == [10, 20, 40], stages\n"
        "if os.environ['TUNECLI_PHASE'] == 'final': answer(value=value, test=0.75)\n"
        "else: answer(value=value)\n"
    )
    train.write_text(_HEAD + takes, encoding="utf-8")
    done = run("search", "r.yaml", "script.takes=schedule", "--trust", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert not result["schedule_is_advice"]
    assert [trial["samples"] for trial in result["trials"]] == [240] * 3  # 8·10 + 4·20 + 2·40
    assert result["spent"]["epochs"] is None
    assert (result["test"]["split"], result["test"]["values"]) == ("test", [0.75])


def test_killed_search_leaves_no_script_and_goes_on(train: Path, tmp_path: Path) -> None:
    slow = (
        "open('pids', 'a').write(f'{os.getpid()}\\n')\n"
        "time.sleep(600) if not os.path.exists('mended') else answer(value=value)\n"
    )
    train.write_text(_HEAD + slow, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "tunecli", "search"]
    process = subprocess.Popen(
        [*command, "r.yaml", "--run", "r", "--trust"],
        cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pids = tmp_path / "pids"
    assert _eventually(lambda: pids.exists() and pids.read_text().endswith("\n"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _eventually(lambda: not _is_alive(int(pids.read_text())))
    (tmp_path / "mended").touch()
    done = subprocess.run(
        [*command, "--resume", "r", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["learning_rate"] == 0.2


def test_advice_of_a_rate_alone_names_its_catch_with_numbers(run: Run, train: Path) -> None:
    train.write_text(_HEAD + GOOD, encoding="utf-8")
    done = run("search", "r.yaml", "--run", "r", "--trust", "--json")
    result = json.loads(done.stdout)
    (caught,) = [text for text in result["warnings"] if "script.undamped" in text]
    assert "momentum 0.9, which does not damp" in caught
    assert "by a factor of 10 (0.2 for 2)" in caught
    assert "hands over no learning rate" not in done.stderr
    shown = run("search", "--resume", "r").stdout
    assert "\n\nAdvice: what follows from this rate; nobody has trained with it\n\n stage" in (
        shown.replace("\nstage", "\n stage")
    )
    assert "report.html shows all of it" in shown.splitlines()[-1]
    assert "tunecli export" not in shown.splitlines()[-1]
    (line,) = [line for line in shown.splitlines() if line.startswith("Spent")]
    assert " 0 " not in line
    assert "sample" not in line
    page = Path("r/report.html").read_text(encoding="utf-8")
    assert "Advice: the schedule that follows from it" in page
    assert "these are validation values, on which the rate was chosen" in page
    assert "test accuracy" not in page
    assert "test set once" not in page
    assert ">0 samples" not in page
    assert page.count("<td>0</td>") == 3  # the seed of each trial


def test_undamped_rate_is_converted_in_the_advice_and_nowhere_else(run: Run, train: Path) -> None:
    handed = (
        "told = json.load(open(os.environ['TUNECLI_SCHEDULE']))\n"
        "assert told['learning_rate'] == rate == float(sys.argv[1])\n"
        "first = told['stages'][0]['learning_rate']\n"
        "assert abs(first - 10 * rate) < 1e-9, first\n"
        "assert os.environ['TUNECLI_LEARNING_RATES'].split(',')[0] == repr(first)\n"
    )
    train.write_text(_HEAD + handed + GOOD, encoding="utf-8")
    done = run("search", "r.yaml", "script.undamped=true", "--trust", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["learning_rate"] == 0.2
    rates = [stage["learning_rate"] for stage in result["schedule"]]
    assert rates == pytest.approx([2.0, 1.0, 0.5])
    assert not any("script.undamped" in text for text in result["warnings"])
    assert any("the schedule is advice" in text for text in result["warnings"])
    key = ("script.undamped=true", "script.takes=schedule")
    done = run("search", "r.yaml", *key, "--trust")
    assert done.exit_code == 3
    assert "script must not have undamped beside a script that takes the schedule" in done.stderr


def test_script_that_ignores_the_rate_has_learned_nothing(run: Run, train: Path) -> None:
    train.write_text(_HEAD + "answer(value=0.5)", encoding="utf-8")
    keys = ("search.patience=2", 'command=["{python}", train.py]')
    done = run("search", "r.yaml", *keys, "--run", "r", "--trust", "--json")
    assert done.exit_code == 1, done.output
    assert "note: the command hands over no learning rate: the script must read" in done.stderr
    result = json.loads(done.stdout)
    assert result["learning_rate"] is None
    assert result["final"] == result["schedule"] == []
    (told,) = [text for text in result["warnings"] if "learn" in text]
    assert "the learning rate changes nothing: 0.5 to the last bit at the rates 0.1, 0.2, 0.4" in (
        told
    )


def test_rates_that_agree_by_chance_are_a_warning_alone(run: Run, train: Path) -> None:
    train.write_text(_HEAD + "answer(value=0.9 if rate == 0.2 else 0.5)", encoding="utf-8")
    keys = ("search.grid=[0.05, 0.1, 0.2, 0.4]", "search.patience=2")
    done = run("search", "r.yaml", *keys, "--trust", "--json")
    result = json.loads(done.stdout)
    assert (done.exit_code, result["learning_rate"]) == (0, 0.2), done.output
    assert any("the learning rate changes nothing: 0.5" in text for text in result["warnings"])
    train.write_text(_HEAD + "answer(value=1.0)", encoding="utf-8")  # as good as can be
    result = json.loads(run("search", "r.yaml", *keys, "--trust", "--json").stdout)
    assert not any("changes nothing" in text for text in result["warnings"])


def test_loss_that_is_called_an_accuracy_is_suspected(run: Run, train: Path) -> None:
    train.write_text(_HEAD + "answer(value=1 - 2 * rate)", encoding="utf-8")
    done = run("search", "r.yaml", "--trust", "--json")
    assert done.exit_code == 4, done.output
    assert any("set search.metric: loss" in t for t in json.loads(done.stdout)["warnings"])
    train.write_text(_HEAD + GOOD, encoding="utf-8")
    done = run("search", "r.yaml", "search.grid=[0.2, 0.4]", "--trust", "--json")
    key = ("search.metric=m", "metrics={m: {maximize: true}}", "search.grid=[0.2, 0.4]")
    other = run("search", "r.yaml", *key, "--trust", "--json")
    assert any("set search.metric" in t for t in json.loads(done.stdout)["warnings"])
    assert not any("set search.metric" in t for t in json.loads(other.stdout)["warnings"])


def test_nothing_but_nan_is_more_likely_a_bug(run: Run, train: Path) -> None:
    train.write_text(_HEAD + 'answer(value=float("nan"))', encoding="utf-8")
    done = run("search", "r.yaml", "--trust", "--json")
    assert done.exit_code == 5, done.output
    warnings = json.loads(done.stdout)["warnings"]
    assert any("every rate down to 0.1 diverged: more likely a bug" in t for t in warnings)


def test_what_the_recipe_has_wrong_is_found_before_a_run_or_needs_a_new_one(
    run: Run, train: Path
) -> None:
    done = run("search", "r.yaml", "--run", "r", "--trust")
    assert done.exit_code == 3
    assert "r.yaml:3: command[1] must be a script but there is no" in done.stderr
    assert not Path("r").exists()
    train.write_text(_HEAD + "answer(value=93.1)", encoding="utf-8")
    done = run("search", "r.yaml", "--run", "r", "--trust")
    assert done.exit_code == 1
    assert "value must be in [0, 1]" in done.stderr
    assert "mend the recipe and start again" in done.stderr


def test_last_line_says_what_to_do_with_a_schedule_that_was_trained(run: Run, train: Path) -> None:
    code = (
        "answer(value=value, step=70, test=0.75 if os.environ['TUNECLI_PHASE'] == 'final' else 0)"
    )
    train.write_text(_HEAD + code, encoding="utf-8")
    done = run("search", "r.yaml", "script.takes=schedule", "--run", "r", "--trust")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == (
        "Files in r: report.html shows all of it; tunecli export r --to pytorch takes the schedule "
        "along"
    )
    page = Path("r/report.html").read_text(encoding="utf-8")
    assert "each read the test set once" in page
    assert "test accuracy" in page


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _eventually(holds: object, seconds: float = 60.0) -> bool:
    assert callable(holds)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.05)
    return False
