import errno
import io
import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import torch

from tunecli.data.load import Split, Splits
from tunecli.errors import InterruptedRunError, RunError
from tunecli.execution import Interrupt, execute, read_json
from tunecli.execution import in_process as in_process_module
from tunecli.recipe import Recipe
from tunecli.schedule import Schedule, Stage
from tunecli.training import Trial, TrialOutcome
from tunecli.training.build import build_trial
from tunecli.training.protocol import NotYetError
from tunecli.user_code import UserCodeError

TOTAL = 12
SCHEDULE = Schedule(
    (
        Stage(0.2, momentum=0.8, discount=0.5, batch_size=8, steps=4),
        Stage(0.1, momentum=0.9, discount=0.5, batch_size=4, steps=8),
    )
)


def part(samples: int) -> Split:
    inputs = torch.randn(samples, 1, 2, 2, generator=torch.Generator().manual_seed(samples))
    return Split(inputs, (inputs.sum(dim=(1, 2, 3)) > 0).long())


SPLITS = Splits({"train": part(31), "validation": part(15)}, input_shape=(1, 2, 2), num_classes=2)
RECIPE = Recipe.model_validate(
    {
        "version": 1,
        "name": "tiny",
        "model": {"name": "mlp", "hidden": [4]},
        "data": {"name": "digits"},
        "training": {"evaluations": 6},
        "schedule": {"batch_size": 8, "steps": 4},
        "search": {"grid": [0.1, 0.2]},
    }
)


def make_trial(hidden: int = 4, rate_factor: float = 1.0) -> Trial:
    recipe = RECIPE.model_copy(
        update={"model": RECIPE.model.model_copy(update={"hidden": (hidden,)})}
    )
    schedule = Schedule(
        tuple(replace(s, learning_rate=s.learning_rate * rate_factor) for s in SCHEDULE.stages)
    )
    return build_trial(recipe, schedule, seed=3, splits=SPLITS, device=torch.device("cpu"))


def run(
    path: Path,
    *,
    interrupt: Interrupt | None = None,
    make: Callable[[], Trial] = make_trial,
    on_progress: Callable[[Trial], None] = lambda _: None,
    finish: Callable[[Trial], dict[str, Any]] | None = None,
    checkpoint_every_s: float = 0.0,
    own_code: bool = False,
) -> tuple[TrialOutcome, dict[str, Any]]:
    return execute(
        make,
        path,
        own_code=own_code,
        interrupt=interrupt or Interrupt(),
        checkpoint_every_s=checkpoint_every_s,
        on_progress=on_progress,
        finish=finish,
    )


def timeless(outcome: TrialOutcome) -> TrialOutcome:
    return replace(outcome, seconds=0)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def log(path: Path) -> str:
    return (path / "log.txt").read_text()


def stop_at(step: int) -> tuple[Interrupt, Callable[[Trial], None]]:
    """An interrupt, and a watcher that requests it once the trial is at `step`."""
    interrupt = Interrupt()

    def watch(trial: Trial) -> None:
        if trial.training.steps == step:
            interrupt.signal_number = signal.SIGTERM

    return interrupt, watch


@pytest.fixture(autouse=True)
def _one_update_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**9))
    fake = SimpleNamespace(perf_counter=lambda: next(ticks) * 0.2)
    monkeypatch.setattr("tunecli.training.trial.time", fake)


@pytest.fixture(scope="module")
def expected() -> TrialOutcome:
    return timeless(make_trial().run())


def test_outcome_is_the_trials_and_is_read_back_as_it_was(
    tmp_path: Path, expected: TrialOutcome
) -> None:
    outcome, extra = run(tmp_path, finish=lambda _: {"test": 0.5})
    assert timeless(outcome) == expected
    assert extra == {"test": 0.5}
    assert run(tmp_path) == (outcome, extra)
    assert read_json(tmp_path / "outcome.json") == json.loads(
        json.dumps({"outcome": asdict(outcome), "extra": extra})
    )
    assert {p.name for p in tmp_path.iterdir()} == {"outcome.json", "metrics.jsonl", "log.txt"}


def test_finished_trial_is_not_run_again(tmp_path: Path) -> None:
    first = run(tmp_path, finish=lambda _: {"test": 0.5})
    before = (tmp_path / "outcome.json").stat().st_mtime_ns

    def never(*_: object) -> Any:
        raise AssertionError("a finished trial was run again")

    assert run(tmp_path, make=never, finish=never, on_progress=never) == first
    assert (tmp_path / "outcome.json").stat().st_mtime_ns == before


def test_diverged_trial_is_read_back_as_diverged(tmp_path: Path) -> None:
    def explode() -> Trial:
        return make_trial(rate_factor=1e30)

    outcome, _ = run(tmp_path, make=explode)
    assert outcome.diverged
    assert outcome.final is None
    assert run(tmp_path, make=explode)[0] == outcome
    assert log(tmp_path).endswith(f" diverged: {outcome.reason}\n")


def test_trial_that_was_given_up_is_read_back_as_given_up(tmp_path: Path) -> None:
    def hopeless() -> Trial:
        return build_trial(
            RECIPE,
            SCHEDULE,
            seed=3,
            splits=SPLITS,
            device=torch.device("cpu"),
            gives_up=lambda curve: "too far to go" if len(curve) == 3 else None,
        )

    outcome, _ = run(tmp_path, make=hopeless)
    assert (outcome.given_up, outcome.diverged, outcome.reason) == (True, False, "too far to go")
    assert 0 < outcome.steps < TOTAL
    assert run(tmp_path, make=hopeless)[0] == outcome
    assert log(tmp_path).endswith(" given up: too far to go\n")
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("step", range(1, TOTAL))
def test_interrupted_trial_goes_on_from_its_last_update(
    tmp_path: Path, expected: TrialOutcome, step: int
) -> None:
    interrupt, watch = stop_at(step)
    with pytest.raises(InterruptedRunError) as stopped:
        run(tmp_path, interrupt=interrupt, on_progress=watch, checkpoint_every_s=1e9)
    assert stopped.value.exit_code == 143
    assert not (tmp_path / "outcome.json").exists()
    seen: list[int] = []
    outcome, _ = run(tmp_path, on_progress=lambda trial: seen.append(trial.training.steps))
    assert seen[0] == step + 1  # nothing is done twice
    assert timeless(outcome) == expected
    assert lines(tmp_path) == [asdict(point) for point in outcome.curve]
    assert f" went on from update {step}\n" in log(tmp_path)


def test_trial_whose_training_waits_is_interrupted_and_goes_on(
    tmp_path: Path, expected: TrialOutcome
) -> None:
    waited: list[int] = []
    interrupt = Interrupt()

    def waiting() -> Trial:
        trial = make_trial()
        step = trial.training.step

        def step_or_wait() -> torch.Tensor:
            if trial.training.steps < 3:
                return step()
            raise NotYetError

        trial.training.step = step_or_wait  # type: ignore[method-assign]
        return trial

    def watch(trial: Trial) -> None:
        waited.append(trial.training.steps)
        if waited.count(3) == 4:  # it is asked again and again
            interrupt.signal_number = signal.SIGINT

    with pytest.raises(InterruptedRunError):
        run(tmp_path, make=waiting, interrupt=interrupt, on_progress=watch, checkpoint_every_s=1e9)
    assert waited[-1] == 3
    assert timeless(run(tmp_path)[0]) == expected


def test_interrupt_before_the_first_update_loses_nothing(
    tmp_path: Path, expected: TrialOutcome
) -> None:
    interrupt = Interrupt()
    interrupt.signal_number = signal.SIGINT
    with pytest.raises(InterruptedRunError) as stopped:
        run(tmp_path, interrupt=interrupt)
    assert stopped.value.exit_code == 130
    assert timeless(run(tmp_path)[0]) == expected


def test_request_in_the_last_piece_still_stores_the_finished_trial(
    tmp_path: Path, expected: TrialOutcome
) -> None:
    interrupt, watch = stop_at(TOTAL)
    outcome, _ = run(tmp_path, interrupt=interrupt, on_progress=watch)
    assert timeless(outcome) == expected


def test_checkpoints_are_as_far_apart_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, saved = [0.0], []
    monkeypatch.setattr(
        in_process_module,
        "time",
        SimpleNamespace(monotonic=lambda: now[0], strftime=lambda _: "now"),
    )
    monkeypatch.setattr(
        in_process_module, "_save", lambda trial, _: saved.append(trial.training.steps)
    )

    def ten_seconds_later(_: Trial) -> None:
        now[0] += 10

    run(tmp_path, on_progress=ten_seconds_later, checkpoint_every_s=30)
    assert saved == [3, 6, 9]  # not at 12: the outcome is written there


class Killed(BaseException):
    """As good as `kill -9`: nothing in the program handles it."""


@pytest.mark.parametrize("write", range(2 * TOTAL))
def test_kill_at_any_write_resumes_to_the_same_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: TrialOutcome, write: int
) -> None:
    """Killed before and after each file's move: 11 checkpoints and the outcome."""
    count, replace_ = 0, Path.replace

    def killing(aside: Path, target: Path) -> Path:
        nonlocal count
        moved = None if count == write else replace_(aside, target)
        count += 2
        if count > write:
            raise Killed
        assert moved is not None
        return moved

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killing)
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            run(tmp_path)
    finished, made = write == 2 * TOTAL - 1, []

    def counted() -> Trial:
        made.append(1)
        return make_trial()

    outcome, _ = run(tmp_path, make=counted, checkpoint_every_s=1e9)
    assert bool(made) != finished
    assert timeless(outcome) == expected
    assert lines(tmp_path) == [asdict(point) for point in outcome.curve]
    assert {p.name for p in tmp_path.iterdir()} == {"outcome.json", "metrics.jsonl", "log.txt"}


@pytest.mark.parametrize("after", range(1, TOTAL + 1))
def test_metrics_have_one_line_per_point_after_a_kill_at_any_update(
    tmp_path: Path, after: int
) -> None:
    """Checkpoints are older than the metrics here: lines past them must not come twice."""

    def kill(trial: Trial) -> None:
        if trial.training.steps == after:
            with (tmp_path / "metrics.jsonl").open("a") as file:
                file.write('{"steps": 3, "sam')  # and in the middle of a line
            raise Killed

    interrupt, watch = stop_at(2)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, interrupt=interrupt, on_progress=watch, checkpoint_every_s=1e9)
    for _ in range(2):
        if after > 2:
            with pytest.raises(Killed):
                run(tmp_path, on_progress=kill, checkpoint_every_s=1e9)
    outcome, _ = run(tmp_path)
    assert lines(tmp_path) == [asdict(point) for point in outcome.curve]


def test_metrics_are_there_while_the_trial_runs(tmp_path: Path) -> None:
    def watch(trial: Trial) -> None:
        assert lines(tmp_path) == [asdict(point) for point in trial.curve]

    run(tmp_path, on_progress=watch)


def checkpoint() -> bytes:
    trial = make_trial()
    for _ in range(5):
        trial.advance()
    file = io.BytesIO()
    torch.save(trial.state_dict(), file)
    return file.getvalue()


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def half_right() -> bytes:
    """A checkpoint whose model can be restored and whose optimizer cannot."""
    state = torch.load(io.BytesIO(checkpoint()), weights_only=True)
    del state["training"]["optimizer"]["param_groups"][0]["discount"]
    return saved(state)


DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello",
    "zeros": lambda: b"\0" * 5000,
    "cut short": lambda: checkpoint()[:-3000],
    "cut at 4096": lambda: checkpoint()[:4096],
    "a list": lambda: saved([1, 2]),
    "another dictionary": lambda: saved({"model": 1}),
    "half right": half_right,
    "not weights alone": lambda: saved(Path("x")),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damaged_checkpoint_starts_the_trial_again(
    tmp_path: Path, expected: TrialOutcome, damage: Callable[[], bytes]
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(damage())
    assert timeless(run(tmp_path)[0]) == expected
    assert " started again, the checkpoint is damaged: " in log(tmp_path)


def test_checkpoint_that_cannot_be_read_now_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = checkpoint()
    (tmp_path / "checkpoint.pt").write_bytes(content)

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", stale)
        with pytest.raises(RunError, match="cannot be read: Stale file handle"):
            run(tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == content


def test_checkpoint_cut_anywhere_starts_the_trial_again(
    tmp_path: Path, expected: TrialOutcome
) -> None:
    content, generator = checkpoint(), random.Random(0)
    for number in range(30):
        path = tmp_path / str(number)
        path.mkdir()
        (path / "checkpoint.pt").write_bytes(content[: generator.randrange(len(content) - 1)])
        assert timeless(run(path, checkpoint_every_s=1e9)[0]) == expected


def test_checkpoint_of_another_model_starts_the_trial_again(
    tmp_path: Path, expected: TrialOutcome
) -> None:
    """`load_state_dict` copies the layers that fit before it complains: the trial must be new."""
    interrupt, watch = stop_at(5)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, make=lambda: make_trial(7), interrupt=interrupt, on_progress=watch)
    assert timeless(run(tmp_path)[0]) == expected


def test_checkpoint_from_another_device_is_loaded_on_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    load = torch.load

    def spy(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["map_location"])
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", spy)
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint())
    run(tmp_path)
    assert asked == ["cpu"]
    assert " went on from update 5\n" in log(tmp_path)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")],
)
def test_checkpoint_that_cannot_be_written_does_not_end_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: TrialOutcome, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch, "save", full)
    assert timeless(run(tmp_path)[0]) == expected
    assert log(tmp_path).count(f"checkpoint not written: {error}") == TOTAL - 1
    assert {p.name for p in tmp_path.iterdir()} == {"outcome.json", "metrics.jsonl", "log.txt"}


def test_failed_checkpoint_keeps_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: TrialOutcome
) -> None:
    interrupt, watch = stop_at(5)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, interrupt=interrupt, on_progress=watch)

    def half(_: object, file: BinaryIO) -> None:
        file.write(b"half of a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    interrupt, watch = stop_at(8)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(InterruptedRunError):
            run(tmp_path, interrupt=interrupt, on_progress=watch)
    seen: list[int] = []
    outcome, _ = run(tmp_path, on_progress=lambda trial: seen.append(trial.training.steps))
    assert seen[0] == 6
    assert timeless(outcome) == expected


def test_outcome_that_cannot_be_written_is_a_sentence_and_the_trial_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: TrialOutcome
) -> None:
    replace_ = Path.replace

    def full(aside: Path, target: Path) -> Path:
        if target.name == "outcome.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace_(aside, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(
            RunError, match=r"outcome\.json cannot be written: No space left .* with --resume"
        ):
            run(tmp_path)
    seen: list[int] = []
    outcome, _ = run(tmp_path, on_progress=lambda trial: seen.append(trial.training.steps))
    assert seen == [TOTAL]
    assert timeless(outcome) == expected


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt"])
def test_log_and_metrics_that_cannot_be_written_do_not_end_the_trial(
    tmp_path: Path, expected: TrialOutcome, name: str
) -> None:
    (tmp_path / name).mkdir()  # neither written nor removed
    assert timeless(run(tmp_path)[0]) == expected


def test_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="0001 cannot be made: Not a directory"):
        run(tmp_path / "file" / "0001")


def failing(error: BaseException) -> Callable[[], Trial]:
    """A trial whose eighth update fails."""

    def make() -> Trial:
        trial = make_trial()
        step = trial.training.step

        def fail() -> torch.Tensor:
            if trial.training.steps == 7:
                raise error
            return step()

        trial.training.step = fail  # type: ignore[method-assign]
        return trial

    return make


def test_out_of_memory_is_a_sentence_and_no_outcome(tmp_path: Path, expected: TrialOutcome) -> None:
    with pytest.raises(RunError, match=r"memory did not suffice for .* --resume"):
        run(tmp_path, make=failing(torch.OutOfMemoryError("CUDA out of memory")))
    assert not (tmp_path / "outcome.json").exists()
    assert " out of memory: CUDA out of memory\n" in log(tmp_path)
    seen: list[int] = []
    outcome, _ = run(tmp_path, on_progress=lambda trial: seen.append(trial.training.steps))
    assert seen[0] == 8
    assert timeless(outcome) == expected


def test_error_in_the_training_is_not_an_outcome(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, make=failing(ZeroDivisionError()))
    assert not (tmp_path / "outcome.json").exists()
    assert (tmp_path / "checkpoint.pt").exists()


def test_error_of_the_recipes_code_is_a_sentence_and_its_traceback_is_in_the_log(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserCodeError, match=rf"code, in {tmp_path}, raised ValueError: wide"):
        run(tmp_path, make=failing(ValueError("wide")), own_code=True)
    assert "Traceback" in log(tmp_path)
    assert "ValueError: wide" in log(tmp_path)
    assert not (tmp_path / "outcome.json").exists()
    with pytest.raises(RunError, match="ours"):
        run(tmp_path, make=failing(RunError("ours")), own_code=True)
    with pytest.raises(RunError, match="memory did not suffice"):
        run(tmp_path, make=failing(torch.OutOfMemoryError("full")), own_code=True)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, make=failing(KeyboardInterrupt()), own_code=True)


def test_too_little_memory_is_a_sentence_and_not_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(trial: Trial) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(Trial, "advance", out_of_memory)
        with pytest.raises(RunError, match="memory did not suffice for"):
            run(tmp_path)
    assert not run(tmp_path)[0].diverged


def test_finish_sees_the_finished_trial_once(tmp_path: Path) -> None:
    seen: list[int] = []

    def finish(trial: Trial) -> dict[str, Any]:
        assert trial.finished
        seen.append(trial.training.steps)
        return {}

    run(tmp_path, finish=finish)
    run(tmp_path, finish=finish)
    assert seen == [TOTAL]


@pytest.mark.parametrize("old", [False, True])
def test_what_was_measured_is_read_back_and_may_be_missing(tmp_path: Path, old: bool) -> None:
    measured = {"delays": {"0": 1, "1": 11}, "mean_delay": 11 / 12}

    def make() -> Trial:
        trial = make_trial()
        trial.training.measurements = lambda: measured  # type: ignore[method-assign]
        return trial

    assert run(tmp_path, make=make)[0].measured == measured
    if old:  # written before there was anything to measure
        stored = read_json(tmp_path / "outcome.json")
        del stored["outcome"]["measured"]
        (tmp_path / "outcome.json").write_text(json.dumps(stored))
    assert run(tmp_path, make=make)[0].measured == ({} if old else measured)


def watched(noted: list[str], closed: list[str], make: Callable[[], Trial] = make_trial) -> Any:
    """Trials whose trainings have a note at every piece, and say when they are closed."""

    def make_watched() -> Trial:
        trial = make()

        def take_notes() -> list[str]:
            noted.append(f"a worker sneezed at {trial.training.steps}")
            return noted[-1:]

        trial.training.take_notes = take_notes  # type: ignore[method-assign]
        trial.training.close = lambda: closed.append("closed")  # type: ignore[method-assign]
        return trial

    return make_watched


def test_notes_of_the_training_are_logged_and_it_is_closed(tmp_path: Path) -> None:
    noted: list[str] = []
    closed: list[str] = []

    def finish(_: Trial) -> dict[str, Any]:
        assert not closed
        return {}

    run(tmp_path, make=watched(noted, closed), finish=finish)
    assert len(noted) >= TOTAL
    assert [line.split(" ", 2)[2] for line in log(tmp_path).splitlines()[1:-1]] == noted
    assert closed == ["closed"]


def test_training_that_fails_or_is_interrupted_is_closed_and_its_notes_logged(
    tmp_path: Path,
) -> None:
    noted: list[str] = []
    closed: list[str] = []
    interrupt, watch = stop_at(3)
    with pytest.raises(InterruptedRunError):
        run(tmp_path, make=watched(noted, closed), interrupt=interrupt, on_progress=watch)
    assert closed == ["closed"]
    failure = failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, make=watched(noted, closed, failure))
    assert closed == ["closed"] * 2
    assert noted[-1] == "a worker sneezed at 7"
    assert all(f" {note}\n" in log(tmp_path) for note in noted)


def test_training_that_could_not_be_restored_is_closed_before_the_next(tmp_path: Path) -> None:
    closed: list[str] = []
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    run(tmp_path, make=watched([], closed))
    assert "the checkpoint is damaged" in log(tmp_path)
    assert len(closed) >= 2


def test_spent_in_tells_what_a_broken_off_trial_cost(tmp_path: Path) -> None:
    assert in_process_module.spent_in(tmp_path / "none") == (0, 0, 0.0)
    point = {"steps": 5, "samples": 320, "train_loss": 1.0, "loss": 1.0, "accuracy": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(point) + '\n{"steps": 10, "sam')
    assert in_process_module.spent_in(tmp_path) == (5, 320, 0.0)
