import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.script.conftest import SCHEDULE, MakeTrial
from tunecli.errors import InvalidValueError, RunError
from tunecli.training import CurvePoint, Evaluation

GOOD = "answer(step=30, value=0.9)"


def failure(make: MakeTrial, code: str | None, **keywords: Any) -> str:
    with pytest.raises(RunError) as caught:
        make(code, **keywords).run()
    text = str(caught.value)
    assert "go on with --resume" in text or "in the recipe and start again" in text
    return text


# ------------------------------------------------------------------------------- what is answered


def test_trial_is_what_the_answers_say(make: MakeTrial) -> None:
    trial = make(
        """
        answer(step=0, value=0.1)
        answer(step=5, train_loss=2.0)
        answer(step=10, train_loss=1.0, value=0.5)
        answer(step=20, value=0.75, samples=121)
        answer(step=30, value=0.9, test=0.8)
        """
    )
    outcome = trial.run()
    assert outcome.untrained == Evaluation(None, 0.1, {})
    assert outcome.final == Evaluation(None, 0.9, {})
    assert outcome.curve == (
        CurvePoint(0, 0, None, None, 0.1),
        CurvePoint(10, 80, 1.5, None, 0.5),
        CurvePoint(20, 121, None, None, 0.75),
        CurvePoint(30, 160, None, None, 0.9),
    )
    assert (outcome.steps, outcome.samples) == (30, 160)
    assert outcome.batch_sizes == ((8, 10), (4, 20))
    assert (outcome.diverged, outcome.given_up, outcome.reason) == (False, False, "")
    assert outcome.seconds > 0
    assert trial.test is None  # it is no business of the search


def test_test_value_counts_in_the_final_phase(make: MakeTrial) -> None:
    trial = make("answer(step=30, value=0.9, test=0.8)", phase="final")
    trial.run()
    assert trial.test == 0.8


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", Evaluation(None, 0.5, {})),
        ("loss", Evaluation(0.5, None, {})),
        ("bleu", Evaluation(None, None, {"bleu": 0.5})),
    ],
)
def test_value_is_the_recipes_metric(make: MakeTrial, metric: str, expected: Evaluation) -> None:
    assert make("answer(value=0.5)", metric=metric).run().final == expected


def test_last_value_without_a_step_stands_for_the_whole_schedule(make: MakeTrial) -> None:
    outcome = make("answer(value=0.5); answer(step=20, train_loss=1); answer(value=0.9)").run()
    assert outcome.curve == (CurvePoint(30, 160, 1.0, None, 0.9),)
    assert outcome.untrained is None


def test_script_that_takes_a_rate_alone_has_the_samples_that_it_tells(make: MakeTrial) -> None:
    trial = make("answer(step=7, value=0.5); answer(value=0.9)", takes="learning_rate")
    outcome = trial.run()
    assert [(point.steps, point.samples) for point in outcome.curve] == [(7, 0), (7, 0)]
    assert (trial.training.total_steps, outcome.batch_sizes) == (0, ())


def test_garbage_is_log(make: MakeTrial, tmp_path: Path) -> None:
    code = """
        sys.stdout.buffer.write(bytes(range(256)) * 50 + b"\\n{{{\\n{'value': 3}\\n[1]\\n{}\\n")
        sys.stdout.buffer.flush()
        os.write(2, b"\\xff\\xfe on stderr\\n")
        print("äöü 日本語 {\\"value\\": 1}", json.dumps({"epoch": "日本"}), flush=True)
        """
    outcome = make(code + GOOD).run()
    assert outcome.final == Evaluation(None, 0.9, {})
    log = (tmp_path / "trial" / "script.log").read_bytes()
    assert bytes(range(256)) in log
    assert b"\xff\xfe on stderr\n" in log
    assert "日本語".encode() in log


def test_last_line_needs_no_end(make: MakeTrial) -> None:
    outcome = make("""sys.stdout.write('{"value": 0.9}')""").run()
    assert outcome.final == Evaluation(None, 0.9, {})


def test_answers_come_from_a_file(make: MakeTrial, tmp_path: Path) -> None:
    trial = make(
        """
        answer(value="on stdout this is log")
        with open(sys.argv[1], "a") as file:
            for step in (10, 30):
                file.write(json.dumps({"step": step, "value": step / 100}) + "\\n" * (step == 10))
                file.flush()
        """,
        "{answers}",
    )
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "answers.jsonl").write_text('{"value": 0.7}\n')  # an earlier start's
    assert [point.accuracy for point in trial.run().curve] == [0.1, 0.3]


def test_script_is_told_everything(make: MakeTrial, tmp_path: Path) -> None:
    trial = make(
        """
        told = json.load(open(os.environ["TUNECLI_SCHEDULE"]))
        assert told["stages"][1]["batch_size"] == 4 and told["weight_decay"] == 0.01, told
        assert sys.argv[1:] == ["0.1", "a b;$HOME", "0.1,0.05", ""], sys.argv
        assert os.environ["TUNECLI_LEARNING_RATE"] == "0.1"
        assert os.environ["TUNECLI_CHECKPOINT"] == ""
        assert os.getcwd() == os.path.dirname(os.environ["TUNECLI_FOLDER"])
        assert sys.stdin.read() == ""
        assert os.getsid(0) == os.getpid()
        links = [f"/proc/self/fd/{n}" for n in range(3, 100)]
        links = [os.readlink(link) for link in links if os.path.islink(link)]
        assert not [link for link in links if ":" in link or link.endswith(".lock")], links
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGPIPE) in (signal.SIG_IGN, signal.SIG_DFL)
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
        """
        "\n        " + GOOD,
        "{learning_rate}",
        "a b;$HOME",
        "{learning_rates}",
        "{checkpoint}",
        weight_decay=0.01,
    )
    assert trial.run().final == Evaluation(None, 0.9, {})


def test_script_may_close_its_output_and_go_on(make: MakeTrial) -> None:
    outcome = make(GOOD + "; os.close(1); os.close(2); time.sleep(0.05); sys.exit(0)").run()
    assert outcome.final == Evaluation(None, 0.9, {})


def test_script_that_answers_often_has_a_curve_of_bounded_length(make: MakeTrial) -> None:
    code = """
        for number in range(20_000):
            print('{"step": %d, "value": 0.5, "train_loss": 1}' % (number // 1000))
        """
    outcome = make(code + GOOD).run()
    assert [point.steps for point in outcome.curve] == [*range(20), 30]
    assert outcome.final == Evaluation(None, 0.9, {})


# ------------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ('print(\'{"step": 12, "value": NaN}\')', "value not finite at step 12"),
        ("answer(step=12, value=float('inf'))", "value not finite at step 12"),
        ("answer(value=float('-inf'))", "value not finite by its last answer"),
        ("answer(step=3, train_loss=float('nan'))", "train_loss not finite at step 3"),
        ("answer(step=3, diverged=True)", "the script said so at step 3"),
        ("answer(value=0.5); answer(value=float('nan'))", "value not finite"),
    ],
)
def test_trial_diverges_and_the_script_is_ended(make: MakeTrial, answers: str, reason: str) -> None:
    outcome = make(answers + "; sys.stdout.flush(); time.sleep(60)").run()
    assert outcome.diverged
    assert reason in outcome.reason
    assert outcome.final is None


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([2.0, 21.0], False),  # one bad answer is one bad answer
        ([2.0, 21.0, 22.0], True),
        ([2.0, 21.0, 1.0, 21.0], True),
        ([2.0, 19.0, 19.0, 19.0], False),
        ([-2.0, -1.0, -1.0, 5.0, 5.0], False),  # ten times a negative loss is no bound
    ],
)
def test_train_loss_far_above_the_first_one_is_divergence(
    make: MakeTrial, losses: list[float], diverged: bool
) -> None:
    code = f"for n, loss in enumerate({losses}): answer(step=5 + 30 * n, train_loss=loss)"
    outcome = make(code + "\n" + "answer(value=0.5)", takes="learning_rate").run()
    assert outcome.diverged == diverged
    assert ("above 10 × 2 at the start" in outcome.reason) == diverged


def test_answers_of_every_update_are_judged_over_25_of_them(make: MakeTrial) -> None:
    code = """
        for step in range(1, 27): answer(step=step, train_loss=1.0 if step < 15 else 11.0)
        answer(step=30, value=0.5)
        """
    assert not make(code).run().diverged
    assert make(code.replace("< 15", "< 14")).run().diverged


def test_exit_status_counts_as_divergence_where_the_recipe_says_so(make: MakeTrial) -> None:
    section = {"failure": "diverged"}
    outcome = make("sys.exit('loss is nan')", section=section).run()
    assert outcome.diverged
    assert outcome.reason == "the script ended with exit status 1: loss is nan"
    assert outcome.curve == ()
    assert "killed by SIGKILL" in failure(
        make, "os.kill(os.getpid(), signal.SIGKILL)", section=section
    )


def test_untrained_model_that_is_not_finite_is_an_error(make: MakeTrial) -> None:
    assert "the untrained model's value" in failure(make, "answer(step=0, value=float('nan'))")


def test_divergence_before_a_bad_answer_is_divergence(make: MakeTrial) -> None:
    assert make("""print('{"value": NaN}\\n{"value": "x"}')""").run().diverged


# -------------------------------------------------------------------------------------- failures


def test_exit_without_a_value_is_an_error(make: MakeTrial) -> None:
    assert "exit status 0, but without a value" in failure(make, "pass")
    assert "without a value" in failure(make, "answer(step=30, train_loss=1)")
    assert "one that looks like it is not a line" in failure(make, "print('value: 0.5')")
    text = failure(make, "answer(value=1)", section={"answers": "file"})
    assert "no line of its file of answers" in text


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{'value': 0.5}", "single quotes are not JSON: print(json.dumps(...))"),
        ("{'value': nan}", "single quotes are not JSON: print(json.dumps(...))"),
        ('{"Value": 0.5}', "did you mean the key value, and not Value?"),
        ('{"step": 3, "accuracy": 0.5}', "did you mean the key value, and not accuracy?"),
        ('{"value": 0.5,}', "not JSON: a comma stands before the closing brace"),
        ('{"value": 0,5}', "not JSON: "),
        ('INFO {"value": 0.5}', "an answer must be alone on its line"),
    ],
)
def test_line_that_was_meant_as_an_answer_is_quoted(make: MakeTrial, line: str, why: str) -> None:
    for where in ("sys.stdout", "open(os.environ['TUNECLI_ANSWERS'], 'w')"):
        text = failure(
            make,
            f"print({line!r}, file={where}); print('{{}} is no answer', 'done')",
            section={"answers": "stdout" if "stdout" in where else "file"},
        )
        assert f"of this line: {line}: {why}" in text


def test_answers_where_nobody_listens_are_told(make: MakeTrial) -> None:
    text = failure(make, "answer(value=1)", section={"answers": "file"})
    assert "no line of its file of answers" in text


def test_crash_tells_the_exit_status_and_the_end_of_the_log(make: MakeTrial) -> None:
    text = failure(make, "answer(value=0.5)\nfor n in range(9): print(n)\nsys.exit(3)")
    assert text.startswith("the script ended with exit status 3; mend the script")
    assert text.endswith("script.log:\n    4\n    5\n    6\n    7\n    8")
    assert "ZeroDivisionError" in failure(make, "1 / 0")


def test_crash_tells_the_signal(make: MakeTrial) -> None:
    text = failure(make, "os.kill(os.getpid(), signal.SIGSEGV)")
    assert text.startswith("the script was killed by SIGSEGV;")
    text = failure(make, "os.kill(os.getpid(), signal.SIGKILL)")
    assert "was killed by SIGKILL; often memory did not suffice" in text


def test_hanging_script_is_ended(make: MakeTrial) -> None:
    code = "answer(step=4, train_loss=1); print('stuck', flush=True); time.sleep(60)"
    text = failure(make, code, section={"answer_timeout_s": 1.0})
    assert "has not answered on its standard output since step 4, for more than 1 seconds" in text
    assert text.endswith("stuck")


def test_script_that_goes_on_answering_does_not_hang(make: MakeTrial) -> None:
    code = "for n in range(8): answer(step=n, train_loss=1); time.sleep(0.1)\n"
    outcome = make(code + GOOD, section={"answer_timeout_s": 0.5}).run()
    assert outcome.final == Evaluation(None, 0.9, {})


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("answer(value='0.9')", 'value must be a number but got "0.9"'),
        ("answer(value=None)", "value must be a number but got null"),
        ("answer(step=5); answer(step=4)", "step must be ≥ 5, as in the answer before, but got 4"),
        ("answer(samples=5); answer(samples=4)", "samples must be ≥ 5"),
        ("answer(step='5')", 'step must be a whole number ≥ 0 but got "5"'),
        ("answer(value=93.1)", "value must be in [0, 1] with search.metric accuracy but got 93.1"),
        ("answer(value=0.5, checkpoint=7)", "checkpoint must be a path but got 7"),
    ],
)
def test_bad_answer_is_an_error(make: MakeTrial, code: str, says: str) -> None:
    assert says in failure(make, code + "; time.sleep(60)")


def test_program_that_cannot_be_started_is_named(make: MakeTrial, tmp_path: Path) -> None:
    def why(*command: str, **section: Any) -> str:
        return failure(make, None, command=command, section=section)

    text = why("no-such-program")
    assert "no-such-program cannot be started: it is not on PATH" in text
    assert "in the recipe and start again" in text
    assert "--resume" not in text
    assert "there is no" in why("./missing.sh")
    (tmp_path / "plain.sh").write_text("echo hi\n")
    assert "may not be executed; allow it (chmod +x)" in why("./plain.sh")
    (tmp_path / "plain.sh").chmod(0o755)
    assert "it is no program; let its first line" in why("./plain.sh")
    (tmp_path / "odd.sh").write_text("#!/no/such/shell\n")
    (tmp_path / "odd.sh").chmod(0o755)
    assert "the interpreter that its first line names is not there" in why("./odd.sh")
    assert "is a folder" in why(str(tmp_path))
    assert "script.folder must be a folder" in why("true", folder=str(tmp_path / "gone"))


def test_divergence_factor_must_be_above_one(make: MakeTrial) -> None:
    with pytest.raises(InvalidValueError, match="divergence_factor"):
        make("pass", divergence_factor=1.0)


# ----------------------------------------------------------------------------------- giving up


def test_hopeless_trial_is_given_up_and_the_script_ended(make: MakeTrial) -> None:
    asked: list[list[int]] = []

    def gives_up(curve: Any) -> str | None:
        asked.append([point.steps for point in curve])
        return "hopeless" if curve[-1].samples >= 80 else None

    code = """
        answer(step=0, value=0.1)
        for step in (5, 10, 15, 30): answer(step=step, value=0.1)
        time.sleep(60)
        """
    outcome = make(code, gives_up=gives_up).run()
    assert (outcome.given_up, outcome.reason, outcome.diverged) == (True, "hopeless", False)
    assert asked == [[0, 5], [0, 5, 10]]
    assert outcome.final == Evaluation(None, 0.1, {})
    assert outcome.batch_sizes == ((8, 10),)


@pytest.mark.parametrize(
    ("code", "takes"),
    [
        ("answer(step=30, value=0.5)", "schedule"),
        ("answer(value=0.5); answer(value=0.6)", "schedule"),
        ("answer(step=15, value=0.5)", "learning_rate"),
    ],
)
def test_nobody_gives_up_without_knowing_how_far_it_is(
    make: MakeTrial, code: str, takes: str
) -> None:
    outcome = make(code, takes=takes, gives_up=lambda _: "no").run()
    assert not outcome.given_up


# ---------------------------------------------------------------------------------- going on


def until(trial: Any, holds: Callable[[], bool]) -> None:
    while not holds():
        assert not trial.finished
        trial.advance()


GOES_ON = """
    at = sys.argv[1]
    first = int(open(at).read()) if at else 0
    answer(step=first, value=first / 100)
    for step in range(first + 5, 31, 5):
        if step == 20 and not at: time.sleep(60)
        if step % 10 == 0:
            open("state", "w").write(str(step))
            answer(step=step, value=step / 100, checkpoint=os.path.abspath("state"))
        else:
            answer(step=step, value=step / 100)
    """


def test_resumed_script_goes_on_from_its_checkpoint(make: MakeTrial, tmp_path: Path) -> None:
    trial = make(GOES_ON, "{checkpoint}")
    until(trial, lambda: trial.training.steps >= 15)
    state = trial.state_dict()
    trial.close()
    assert [point["steps"] for point in state["record"]["curve"]] == [0, 5, 10]
    again = make(GOES_ON, "{checkpoint}")
    again.load_state_dict(state)
    assert again.training.steps == 10
    assert again.training.take_notes() == []
    outcome = again.run()
    assert [point.steps for point in outcome.curve] == [0, 5, 10, 15, 20, 25, 30]
    assert outcome.untrained == Evaluation(None, 0.0, {})
    assert str(tmp_path / "state") in (tmp_path / "trial" / "script.log").read_text()


def test_script_without_a_checkpoint_begins_again(make: MakeTrial) -> None:
    trial = make("answer(step=5, value=0.5); time.sleep(60)")
    until(trial, lambda: bool(trial.curve))
    state = trial.state_dict()
    trial.close()
    again = make(GOOD)
    again.load_state_dict(state)
    assert (again.curve, again.training.steps) == ([], 0)
    assert "reported no checkpoint: from the beginning" in again.training.take_notes()[0]
    assert len(again.run().curve) == 1


def test_checkpoint_that_is_gone_is_noted(make: MakeTrial) -> None:
    trial = make("mark('c.pt'); answer(step=5, value=0.5, checkpoint='c.pt'); time.sleep(60)")
    until(trial, lambda: bool(trial.curve))
    state = trial.state_dict()
    trial.close()
    (trial.training.call.folder / "c.pt").unlink()
    again = make(GOOD)
    again.load_state_dict(state)
    assert again.curve == []
    (note,) = again.training.take_notes()
    assert "trial/c.pt is gone: from the beginning" in note


def test_checkpoint_that_is_not_in_the_trials_folder_is_told_at_once(
    make: MakeTrial, tmp_path: Path
) -> None:
    """Saved where the script runs: the next trial would write over it."""
    trial = make("open('c.pt', 'w').close(); answer(step=5, value=0.5, checkpoint='c.pt')")
    with pytest.raises(RunError, match=r"checkpoint must be a file .* but got c\.pt; save it to"):
        trial.run()


def test_script_that_does_not_load_its_checkpoint_is_told_so(make: MakeTrial) -> None:
    code = "mark('c.pt'); answer(step=5, value=0.5, checkpoint='c.pt'); time.sleep(60)"
    trial = make(code)
    until(trial, lambda: bool(trial.curve))
    state = trial.state_dict()
    trial.close()
    again = make("answer(step=0, value=0.1); time.sleep(60)")
    again.load_state_dict(state)
    with pytest.raises(RunError, match=r"given the checkpoint .*c\.pt of step 5 but begins with"):
        again.run()


def test_finished_trial_is_not_started_again(make: MakeTrial) -> None:
    for code in (GOOD, "answer(step=5, value=float('nan'))"):
        trial = make(code)
        outcome = trial.run()
        again = make("sys.exit(3)")
        again.load_state_dict(json.loads(json.dumps(trial.state_dict())))
        assert again.finished
        assert again.outcome() == outcome


def test_resumed_script_with_nothing_left_to_do_keeps_its_value(make: MakeTrial) -> None:
    trial = make("mark('c'); answer(step=30, value=0.9, checkpoint='c'); time.sleep(60)")
    until(trial, lambda: bool(trial.curve))
    state = trial.state_dict()
    trial.close()
    again = make("pass")
    again.load_state_dict(state)
    assert again.run().final == Evaluation(None, 0.9, {})


def test_script_that_stops_short_is_noted(make: MakeTrial) -> None:
    trial = make("answer(step=3, value=0.5)")
    trial.run()
    assert "ended at step 3 of 30: does its step count updates?" in trial.training.take_notes()[0]


def test_schedule_of_these_tests_is_what_they_say() -> None:
    assert (SCHEDULE.total_steps, SCHEDULE.samples) == (30, 160)
    assert math.isclose(SCHEDULE.stages[0].learning_rate, 0.1)
