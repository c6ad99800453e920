import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.training.script.conftest import MakeTrial, eventually, is_alive, pid_in
from tunecli.errors import InterruptedRunError, RunError
from tunecli.execution import Interrupt, execute
from tunecli.training import Evaluation, Trial
from tunecli.training.script.trial import ScriptTrial

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
pytestmark = linux

STUBBORN = """
    def stubborn(name, first=lambda: None):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            first()
            mark(name)
            while True: time.sleep(60)
        wait_for(name)
    """
FAMILY = (
    STUBBORN
    + """
    stubborn("child")
    stubborn("session", os.setsid)
    if os.fork() == 0:
        os.setsid()
        stubborn("daemon")
        os._exit(0)
    wait_for("daemon")
    mark("script")
    """
)
NAMES = ("child", "session", "daemon", "script")


def advance_until(trial: ScriptTrial, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        trial.advance()


def family(folder: Path) -> list[int]:
    return [pid_in(folder / name) for name in NAMES]


@pytest.mark.parametrize(
    "end",
    [
        "answer(step=30, value=0.9)",
        "answer(step=5, value=float('nan')); time.sleep(60)",
        "signal.signal(15, signal.SIG_IGN); answer(step=5, value=float('nan')); time.sleep(60)",
    ],
    ids=["finished", "diverged", "stubborn"],
)
def test_nothing_is_left_of_a_trial_that_is_over(make: MakeTrial, tmp_path: Path, end: str) -> None:
    trial = make(FAMILY + end)
    trial.run()
    assert not [pid for pid in family(tmp_path / "trial") if is_alive(pid)]


@pytest.mark.parametrize("end", ["sys.exit(3)", "answer(value='x'); time.sleep(60)", "sys.exit(0)"])
def test_nothing_is_left_of_a_trial_that_failed(make: MakeTrial, tmp_path: Path, end: str) -> None:
    with pytest.raises(RunError):
        make(FAMILY + end).run()
    assert not [pid for pid in family(tmp_path / "trial") if is_alive(pid)]


def test_nothing_is_left_of_a_trial_that_is_closed(make: MakeTrial, tmp_path: Path) -> None:
    trial = make(FAMILY + "time.sleep(60)")
    advance_until(trial, (tmp_path / "trial" / "script").exists)
    trial.close()
    trial.close()
    assert not [pid for pid in family(tmp_path / "trial") if is_alive(pid)]


def test_script_has_its_grace(make: MakeTrial, tmp_path: Path) -> None:
    code = """
        def save(*_):
            print("x" * 3_000_000)  # more than a pipe holds
            mark("saved")
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        mark("ready")
        time.sleep(60)
        """
    trial = make(code, section={"grace_s": 20.0})
    advance_until(trial, (tmp_path / "trial" / "ready").exists)
    trial.close()
    assert (tmp_path / "trial" / "saved").exists()


def test_interrupted_run_goes_on_from_the_scripts_checkpoint(
    make: MakeTrial, tmp_path: Path
) -> None:
    code = """
        if sys.argv[1]:
            answer(step=30, value=0.9)
            sys.exit(0)
        mark("c")
        answer(step=10, value=0.5, checkpoint="c")
        answer(step=20, value=0.6)
        time.sleep(60)
        """
    interrupt, folder = Interrupt(), tmp_path / "trial"

    def run(on_progress: Callable[[Any], None]) -> Any:
        made = cast("Trial", make(code, "{checkpoint}"))  # the same face
        return execute(
            lambda: made,
            folder,
            interrupt=interrupt,
            checkpoint_every_s=3600,
            on_progress=on_progress,
        )

    def stop(trial: ScriptTrial) -> None:
        if trial.training.steps == 20:
            interrupt.signal_number = signal.SIGINT

    with pytest.raises(InterruptedRunError):
        run(stop)
    assert not is_alive(pid_in(folder / "c"))
    interrupt.signal_number = None
    outcome, _ = run(lambda _: None)
    assert [point.steps for point in outcome.curve] == [10, 30]
    log = (folder / "log.txt").read_text()
    assert "went on from update 10" in log
    assert run(lambda _: None)[0] == outcome  # read back, not run again


def test_scripts_log_is_bounded(make: MakeTrial, tmp_path: Path) -> None:
    code = """
        piece = b"".join(b"%07d\\n" % n for n in range(131072))
        os.write(1, b"first\\n")
        for n in range(50): sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        answer(step=30, value=0.9)
        """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trial = make(code, section={"log_mb": 1.0})
    outcome = trial.run()
    assert outcome.final == Evaluation(None, 0.9, {})
    log = (tmp_path / "trial" / "script.log").read_bytes()
    assert 700_000 < len(log) < 1_000_100
    assert b"first\n0000000\n" in log
    assert log.endswith(b'0131071\n{"step": 30, "value": 0.9}\n')
    assert "bytes are not kept" in trial.training.take_notes()[-1]
    assert sorted(file.name for file in (tmp_path / "trial").iterdir()) == [
        *("schedule.json", "script.lock", "script.log")
    ]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


@pytest.mark.parametrize("character", ["x", "{", " "])
def test_endless_line_is_bounded(make: MakeTrial, tmp_path: Path, character: str) -> None:
    code = f"""
        piece = b"{character}" * (1 << 20)
        for n in range(20): sys.stdout.buffer.write(piece)
        sys.stdout.buffer.write(b"\\n")
        answer(step=30, value=0.9)
        """
    outcome = make(code, section={"log_mb": 1.0}).run()
    assert outcome.final == Evaluation(None, 0.9, {})
    assert (tmp_path / "trial" / "script.log").stat().st_size < 1_000_100


def test_script_that_never_stops_printing_does_not_hold_up_the_trial(make: MakeTrial) -> None:
    trial = make("while True: print('x' * 1000)", section={"log_mb": 1.0})
    for _ in range(3):
        began = time.monotonic()
        trial.advance()
        assert time.monotonic() - began < 2
    trial.close()


ALONE = """
import os, sys
from pathlib import Path
from tunecli.recipe.script import ScriptSection
from tunecli.training.script.trial import ScriptTrial
from tests.training.script.conftest import SCHEDULE
folder = Path(sys.argv[1])
trial = ScriptTrial((sys.executable, "-S", str(folder / "train.py")),
                    ScriptSection(grace_s=0.3, folder=str(folder)), SCHEDULE,
                    folder=folder / "trial", seed=0)
while True:
    trial.advance()
"""


def test_nothing_is_left_when_tunecli_is_killed(
    script: Callable[[str], Path], tmp_path: Path, make: MakeTrial
) -> None:
    script(FAMILY + "time.sleep(600)")
    with subprocess.Popen(
        [sys.executable, "-c", ALONE, str(tmp_path)], cwd=Path(__file__).parents[3]
    ) as parent:
        try:
            pids = family(tmp_path / "trial")
        finally:
            parent.kill()
    # who resumes at once waits for the old script to end
    trial = make("answer(step=30, value=0.9)")
    trial.advance()
    outcome = trial.run()
    assert outcome.final == Evaluation(None, 0.9, {})
    assert not [pid for pid in pids if is_alive(pid)]
    assert trial.training.take_notes() == ["waits for the script of a run that was killed to end"]


def children_of(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found


def test_guardian_that_is_killed_takes_the_script_along(make: MakeTrial, tmp_path: Path) -> None:
    trial = make("mark(); time.sleep(60)")
    marked = tmp_path / "trial" / "pid"
    advance_until(trial, marked.exists)
    pid = pid_in(marked)
    (guardian,) = [each for each in children_of(os.getpid()) if pid in children_of(each)]
    os.kill(guardian, signal.SIGKILL)
    with pytest.raises(RunError, match="the process that guards the script was killed"):
        trial.run()
    assert eventually(lambda: not is_alive(pid))


def test_signals_to_the_guardian_and_to_our_group_pass_the_script_by(
    make: MakeTrial, tmp_path: Path
) -> None:
    trial = make("mark(); wait_for('go'); answer(step=30, value=0.9)")
    marked = tmp_path / "trial" / "pid"
    advance_until(trial, marked.exists)
    pid = pid_in(marked)
    (guardian,) = [each for each in children_of(os.getpid()) if pid in children_of(each)]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian, number)
    assert os.getpgid(guardian) != os.getpgid(0)
    (tmp_path / "trial" / "go").touch()
    assert trial.run().final == Evaluation(None, 0.9, {})


def test_trials_side_by_side_do_not_hold_each_other_open(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    from tests.training.script.conftest import SCHEDULE
    from tunecli.recipe.script import ScriptSection

    command = (sys.executable, "-S", str(script("answer(step=30, value=0.9); time.sleep(0.1)")))
    outcomes = []

    def one(number: int) -> None:
        trial = ScriptTrial(
            command, ScriptSection(), SCHEDULE, folder=tmp_path / f"trial-{number}", seed=0
        )
        outcomes.append(trial.run().final)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [Evaluation(None, 0.9, {})] * 4
