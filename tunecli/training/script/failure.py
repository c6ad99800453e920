"""What went wrong with a script, as sentences."""

from tunecli.child import describe_end
from tunecli.errors import RunError
from tunecli.training.script.answers import Answer, looks_like_an_answer
from tunecli.training.script.near_miss import near_miss
from tunecli.training.script.training import ScriptTraining

_SHOWN_LINES = 5
_SEARCHED_LINES = 100  # for one that was meant as an answer
_MEND_SCRIPT = "mend the script, then go on with --resume"
# a resumed run goes by the copy of the recipe in its folder
_MEND_RECIPE = "mend the recipe and start again"


def failure(training: ScriptTraining, what: str, remedy: str = _MEND_SCRIPT) -> RunError:
    """The error for what happened: how to go on, and what the script printed last."""
    printed = "".join(f"\n    {line}" for line in training.last_lines(_SHOWN_LINES))
    return RunError(f"{what}; {remedy}; the end of {training.call.log_file}:{printed}")


def no_value(training: ScriptTraining, metric: str) -> RunError:
    """It ended as if all were well, and has not said what came of it."""
    what = (
        f"the script ended with exit status 0, but without a value: no line of {_where(training)} "
        'was an answer with one, such as {"step": 100, "value": 0.9}'
    )
    missed = near_miss(training.last_lines(_SEARCHED_LINES), metric) or near_miss(
        training.last_answers(_SEARCHED_LINES), metric
    )
    if missed is not None:
        line, why = missed
        what += f"; of this line: {line}: {why}"
    elif any(looks_like_an_answer(line) for line in training.last_lines(_SHOWN_LINES)):
        what += "; one that looks like it is not a line of JSON of its own"
    return failure(training, what)


def out_of_range(training: ScriptTraining, answer: Answer, name: str, value: float) -> RunError:
    """An accuracy that is none: it may be a percentage, or the metric may be another one."""
    return failure(
        training,
        f"the script's answer {answer.text} is bad: {name} must be in [0, 1] with search.metric "
        f"accuracy but got {value}",
        "print the share of right answers, then go on with --resume; or, where it is no accuracy, "
        f"set search.metric: loss or declare a metric of your own under `metrics`: {_MEND_RECIPE}",
    )


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
    lines, remedy = training.last_lines(_SHOWN_LINES), _MEND_SCRIPT
    if any("No module named" in line for line in lines):
        hint = '; the Python that tunecli runs with is "{python}" in the command'
        remedy = f"{_MEND_SCRIPT}; where it is the command, {_MEND_RECIPE}"
    elif any("can't open file" in line for line in lines):
        hint = "; the script that `command` names is not there"
        remedy = f"put it there and go on with --resume, or {_MEND_RECIPE}"
    return failure(training, f"the script {describe_end(status)}{hint}", remedy)


def _where(training: ScriptTraining) -> str:
    return "its file of answers" if training.answers_in_file else "its standard output"
