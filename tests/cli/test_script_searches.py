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


def test_garbage_and_a_flood_of_log_are_no_answer_and_do_no_harm(run: Run, train: Path) -> None:
    flood = (
        "sys.stdout.buffer.write(b'\\xff\\x00{\"value\": \\n' * 400_000); "
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
