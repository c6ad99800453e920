import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tunecli.report.compare_plot import anytime_plot

FEW = ["--studies", "2", "--budget", "3", "--methods", "random,tpe-median-joint,cosine"]
FEW += ["--workers", "1", "--device", "cpu"]


def test_compare_keeps_its_contract(run: Run, quick: Path) -> None:
    done = run("compare", quick, "search.grid=[0.01, 0.1, 1.0]", *FEW, "--run", "r", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result == json.loads(Path("r/result.json").read_text("utf-8"))
    assert result["kind"] == "comparison"
    assert result["seeds"] == [0, 1]
    assert result["budget"]["samples"] == 3 * result["budget"]["samples_per_trial"]
    assert result["command"].startswith(f"tunecli compare {quick} ")
    assert "--studies 2 --seed 0 --budget 3 --methods random" in result["command"]
    names = [method["name"] for method in result["methods"]]
    assert names == ["tunecli", "random", "tpe-median-joint", "cosine"]
    assert result["target"]["from"] in names[1:3]
    for method in result["methods"]:
        assert len(method["studies"]) == 2
        assert method["final"]["n"] == 2
        assert all(study["samples"] <= result["budget"]["samples"] for study in method["studies"])
        assert (method["difference"] is None) == (method["name"] == "tunecli")
    assert "No significant difference" in result["verdict"][0]
    assert "run at least 6" in result["verdict"][-1]
    assert result["skipped"] == []
    assert Path("r/anytime.png").read_bytes().startswith(b"\x89PNG")
    assert Path("r/report.html").read_text("utf-8").lower().startswith("<!doctype html>")
    assert "study=0" in done.stderr

    again = run("compare", "--resume", "r")
    assert again.exit_code == 0
    assert "finished already" in again.stderr
    shown = " ".join(again.stdout.split())
    for words in ("tpe-median-joint", "Target: validation accuracy", "Files in r", "n = 2 studies"):
        assert words in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "RECIPE must be given"),
        (["quick.yaml", "--methods", "tpee"], 2, "did you mean tpe?"),
        (["quick.yaml", "--budget", "0"], 2, "budget"),
        (["quick.yaml", "--seed", "99999999"], 2, "seed must be"),
        (["quick.yaml", "--device", "gpu"], 2, "device must be auto, cpu, cuda"),
        (["quick.yaml", "search.patience=0"], 3, "search.patience must be ≥ 1"),
        (["--resume", "nowhere"], 1, "does not exist"),
        (["--resume", ".", "--studies", "3"], 2, "--resume must stand alone"),
        (["--resume", ".", "--methods", "tpe"], 2, "--resume must stand alone"),
    ],
)
def test_compare_mistakes_end_in_a_sentence_and_leave_nothing(
    run: Run, quick: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run("compare", *arguments)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert not Path("runs").exists()


def test_compare_stops_on_request_and_says_how_to_go_on(run: Run, quick: Path) -> None:
    def interrupt() -> None:
        while not Path("r/studies").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    done = run("compare", quick, "schedule.epochs=400", *FEW, "--run", "r")
    thread.join()
    assert done.exit_code == 130, done.output
    assert "stopped; go on with: tunecli compare --resume r" in done.stderr
    assert done.stdout == ""
    assert not Path("r/result.json").exists()


def test_plot_of_a_comparison_without_results_is_a_picture() -> None:
    result = {
        "recipe": "quick",
        "metric": "accuracy",
        "seeds": [0],
        "budget": {"samples": 1000},
        "methods": [],
    }
    assert anytime_plot(result).startswith(b"\x89PNG")


def test_light_help_of_compare_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tunecli.cli.app import app\n"
        "try: app(['compare', '--help'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'optuna', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    assert "tpe-hyperband" in done.stdout


def test_compare_refuses_what_the_other_methods_do_not_know(run: Run, quick: Path) -> None:
    keys = ["loss={name: cross_entropy, label_smoothing: 0.1}", "training.micro_batch_size=4"]
    done = run("compare", quick, *keys, *FEW, "--run", "r")
    assert done.exit_code == 2
    assert "loss must be cross_entropy, plain, for `tunecli compare` but got label" in done.stderr
    assert "training.micro_batch_size must be left out for `tunecli compare`" in done.stderr
    assert not Path("r").exists()
