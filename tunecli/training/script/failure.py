"""What went wrong with a script, as sentences."""

from tunecli.child import describe_end
from tunecli.errors import RunError
from tunecli.training.script.answers import looks_like_an_answer
from tunecli.training.script.training import ScriptTraining

_SHOWN_LINES = 5


def failure(training: ScriptTraining, what: str) -> RunError:
    """The error for what happened: how to go on, and what the script printed last."""
    printed = "".join(f"\n    {line}" for line in training.last_lines(_SHOWN_LINES))
    return RunError(
        f"{what}; mend the script, then go on with --resume; "
        f"the end of {training.call.log_file}:{printed}"
    )


def no_value(training: ScriptTraining) -> RunError:
    """It ended as if all were well, and has not said what came of it."""
    what = (
        f"the script ended with exit status 0, but without a value: no line of {_where(training)} "
        'was an answer with one, such as {"step": 100, "value": 0.9}'
    )
    if any(looks_like_an_answer(line) for line in training.last_lines(_SHOWN_LINES)):
        what += "; one that looks like it is not a line of JSON of its own"
    return failure(training, what)


def late(training: ScriptTraining) -> RunError:
    """It runs, and says nothing."""
    since = f"step {training.steps}" if training.steps else "its start"
    return failure(
        training,
        f"the script has not answered on {_where(training)} since {since}, for more than "
        f"{training.section.answer_timeout_s:g} seconds (script.answer_timeout_s): it hangs, holds "
        "its answers back, or is slower than that",
    )


def crash(training: ScriptTraining, status: int) -> RunError:
    """It ended with another exit status than 0, or by a signal."""
    hint = "; often memory did not suffice" if status == -9 else ""
    if any("No module named" in line for line in training.last_lines(_SHOWN_LINES)):
        hint = '; the Python that tunecli runs with is "{python}" in the command'
    return failure(training, f"the script {describe_end(status)}{hint}")


def _where(training: ScriptTraining) -> str:
    return "its file of answers" if training.answers_in_file else "its standard output"
