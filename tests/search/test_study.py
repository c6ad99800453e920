"""The study in a run folder: what is written is what is read, by another process too."""

import contextlib
import sqlite3
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from tunecli.errors import RunError
from tunecli.search import Continue, MonotoneRule, Stop, StopReason
from tunecli.search.events import TrialRecord
from tunecli.search.study import Assignment, SearchStudy
from tunecli.training import CurvePoint, Evaluation, TrialOutcome

RULE = MonotoneRule(learning_rates=(0.1, 0.2, 0.4), strategy="paper", repeats=2)
TOTAL = 4480
CURVE = (0.1, 0.6)


def _outcome(accuracy: float | None, *, steps: int = 70) -> TrialOutcome:
    return TrialOutcome(
        diverged=accuracy is None,
        reason="" if accuracy is not None else "training loss not finite by update 25",
        untrained=Evaluation(loss=2.4, accuracy=0.1),
        final=None if accuracy is None else Evaluation(loss=0.3, accuracy=accuracy),
        steps=steps,
        samples=64 * steps,
        seconds=1.25,
        batch_sizes=((64, steps),),
        curve=(CurvePoint(0, 0, None, 2.4, 0.1), CurvePoint(35, 2240, 1.5, 1.2, 0.6)),
    )


def _open(path: Path, rule: MonotoneRule = RULE) -> SearchStudy:
    return SearchStudy(path, "digits", rule, TOTAL)


def _start(study: SearchStudy, seed: int) -> tuple[int, float]:
    """Begin what the study asks for, with some seed."""
    wanted = study.decide()
    assert isinstance(wanted, Continue)
    assignment = Assignment(wanted.learning_rate, wanted.repeat, seed, wanted.role)
    return study.begin(assignment), wanted.learning_rate


def _finish(study: SearchStudy, number: int, accuracy: float | None) -> TrialRecord:
    value = 0.0 if accuracy is None else accuracy
    return study.finish(number, _outcome(accuracy), value, 0.1, CURVE)


def _run(study: SearchStudy, seed: int, accuracy: float | None) -> TrialRecord:
    return _finish(study, _start(study, seed)[0], accuracy)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def test_records_go_round_through_the_file(path: Path) -> None:
    study = _open(path)
    values = (0.8123456789012345, 1 / 3, 0.9, None)
    written = [_run(study, seed % 2, value) for seed, value in enumerate(values)]
    curve = ((0, 0.1), (2240, 0.6))
    why = "training loss not finite by update 25"
    assert [astuple(record) for record in written] == [
        (
            0.1,
            0,
            "complete",
            0.8123456789012345,
            70,
            4480,
            1.25,
            "walk",
            "",
            curve,
            {},
            "validation",
        ),
        (0.1, 1, "complete", 1 / 3, 70, 4480, 1.25, "repeat", "", curve, {}, "validation"),
        (0.2, 0, "complete", 0.9, 70, 4480, 1.25, "walk", "", curve, {}, "validation"),
        (0.2, 1, "diverged", 0.0, 70, 4480, 1.25, "repeat", why, curve, {}, "validation"),
    ]
    assert study.records() == tuple(written)
    assert _open(path).records() == tuple(written)


def test_decisions_are_the_same_after_reopening(path: Path) -> None:
    for seed, accuracy in ((0, 0.8), (1, 0.9), (0, 0.95), (1, 0.99), (0, 0.5), (1, 0.6)):
        study = _open(path)
        decision = study.decide()
        assert isinstance(decision, Continue)
        assert decision.repeat == seed
        record = _run(study, seed, accuracy)
        assert record.learning_rate == decision.learning_rate
        assert study.decide() == _open(path).decide()
    stop = _open(path).decide()
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.learning_rate, stop.value) == (StopReason.NO_IMPROVEMENT, 0.2, 0.97)


def test_divergence_is_stored_finite_with_its_attribute(path: Path) -> None:
    study = _open(path)
    _run(study, 0, None)
    stop = _open(path).decide()
    assert isinstance(stop, Stop)
    assert (stop.reason, stop.learning_rate) == (StopReason.DIVERGED, None)
    (trial,) = optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials
    assert trial.value == 0.0
    assert trial.user_attrs == {
        "seed": 0,
        "repeat": 0,
        "role": "walk",
        "state": "diverged",
        "reason": "training loss not finite by update 25",
        "baseline": 0.1,
        "diverged": True,
        "updates": 70,
        "samples": 4480,
        "seconds": 1.25,
        "curve": [[0.0, 0.1], [0.5, 0.6]],
    }


def test_baseline_reaches_the_rule(path: Path) -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2, 0.4), strategy="paper")
    study = _open(path, rule)
    for accuracy in (0.1, 0.1):  # as much as knowing nothing
        _run(study, 0, accuracy)
    assert study.decide() == Continue(0.4, repeat=0)


def test_trial_that_was_broken_off_is_found_with_its_rate_and_seed(path: Path) -> None:
    study = _open(path)
    assert study.unfinished() == {}
    _run(study, 7, 0.8)
    number, rate = _start(study, 9)
    again = _open(path)
    assert (number, rate) == (1, 0.1)
    assert again.unfinished() == {1: Assignment(0.1, 1, 9, "repeat")}
    assert len(again.records()) == 1  # what is unfinished is no record
    assert _start(again, 9) == (number, rate)  # and is gone on with under its number
    _finish(again, number, 0.9)
    assert again.unfinished() == {}
    assert [record.seed for record in again.records()] == [7, 9]
    assert again.decide() == Continue(0.2, repeat=0)


def test_trial_broken_off_between_its_attributes_and_its_value_is_run_again(path: Path) -> None:
    study = _open(path)
    number, rate = _start(study, 4)
    raw = optuna.load_study(study_name="digits", storage=f"sqlite:///{path}")
    trial = optuna.trial.Trial(raw, raw.trials[0]._trial_id)
    trial.set_user_attr("diverged", True)
    trial.set_user_attr("updates", 3)
    trial.set_user_attr("state", "diverged")
    again = _open(path)
    assert again.records() == ()
    assert again.unfinished() == {number: Assignment(rate, 0, 4)}
    record = _finish(again, number, 0.9)
    assert (record.state, record.updates) == ("complete", 70)


def test_trial_is_there_with_its_rate_and_seed_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial begins with one commit: a kill before it leaves nothing, after it everything."""
    study = _open(path)
    commits: list[int] = []
    commit = Session.commit

    def counting(session: Session) -> None:
        commit(session)
        with contextlib.closing(sqlite3.connect(path)) as rows:
            parts = [
                rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("trials", "trial_params", "trial_user_attributes")
            ]
        assert parts in ([0, 0, 0], [1, 1, 3])
        commits.append(parts[0])

    monkeypatch.setattr(Session, "commit", counting)
    _start(study, 3)
    assert 1 in commits
    assert _open(path).unfinished() == {0: Assignment(0.1, 0, 3)}


def test_several_trials_run_side_by_side_and_end_in_any_order(path: Path) -> None:
    study = _open(path)
    wanted = [Assignment(0.1, 0, 5), Assignment(0.1, 1, 6, "repeat"), Assignment(0.2, 0, 5)]
    numbers = [study.begin(each) for each in wanted]
    assert numbers == [0, 1, 2]
    assert _open(path).unfinished() == dict(zip(numbers, wanted, strict=True))
    _finish(study, 2, 0.95)
    assert study.decide() == Continue(0.1, repeat=0)
    _finish(study, 1, 0.7)
    _finish(study, 0, 0.8)
    assert [each.repeat for each in study.observations()] == [0, 1, 0]
    assert study.decide() == _open(path).decide() == Continue(0.2, repeat=1, role="repeat")
    assert [record.learning_rate for record in study.records()] == [0.1, 0.1, 0.2]


def test_cancelled_trial_is_billed_and_no_evidence(path: Path) -> None:
    study = _open(path)
    number = study.begin(Assignment(0.1, 0, 5))
    record = study.cancel(number, updates=3, samples=192, seconds=0.5)
    assert astuple(record) == (
        0.1, 5, "cancelled", None, 3, 192, 0.5, "walk", "", (), {}, "validation",
    )  # fmt: skip
    assert _open(path).records() == (record,)
    assert study.unfinished() == {}
    assert study.observations() == []
    assert study.decide() == Continue(0.1, repeat=0)
    # it is not gone on with: wanted again, it is another trial, and counts
    assert study.begin(Assignment(0.1, 0, 5)) == 1
    _finish(study, 1, 0.9)
    assert study.decide() == Continue(0.1, repeat=1, role="repeat")


def test_trial_beyond_the_stop_is_a_record_and_no_evidence(path: Path) -> None:
    study = _open(path)
    number = study.begin(Assignment(0.1, 0, 5, "verify"))
    record = _finish(study, number, 0.99)
    assert (record.role, record.value) == ("verify", 0.99)
    assert study.observations() == []
    assert study.decide() == Continue(0.1, repeat=0)


def test_trial_that_was_given_up_keeps_its_reason_and_its_last_value(path: Path) -> None:
    study = _open(path)
    number, _ = _start(study, 0)
    outcome = replace(_outcome(0.6), given_up=True, reason="it was far behind")
    record = study.finish(number, outcome, 0.6, 0.1, CURVE)
    assert (record.state, record.value, record.reason) == ("aborted", 0.6, "it was far behind")
    (seen,) = _open(path).observations()
    assert seen.curve == ((0.5, 0.6),)  # the untrained model is left out
    assert (seen.value, seen.baseline, seen.diverged) == (0.6, 0.1, False)


def test_rate_between_two_grid_points_survives_the_file(path: Path) -> None:
    rule = MonotoneRule(learning_rates=(0.1, 0.2), resolution=1.1, extend=1)
    for wanted, accuracy in ((0.1, 0.8), (0.2, 0.9), (0.4, 0.8)):
        study = _open(path, rule)
        assert study.decide() == Continue(wanted, repeat=0)
        _run(study, 0, accuracy)
    study = _open(path, rule)
    between = study.decide()
    assert isinstance(between, Continue)
    assert between.role == "narrow"
    _run(study, 0, 0.85)
    assert _open(path, rule).observations()[-1].learning_rate == between.learning_rate


def test_path_with_characters_of_urls_is_that_path(tmp_path: Path) -> None:
    path = tmp_path / "50% off?#a b&ü.db"
    _run(_open(path), 0, 0.8)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert len(_open(path).records()) == 1


def test_rate_survives_the_file_to_the_last_bit(path: Path) -> None:
    rates = (0.1, 0.1 + 2**-53, 0.30000000000000004, 1 / 3)
    rule = MonotoneRule(learning_rates=rates, strategy="paper")
    for seed, accuracy in enumerate((0.1, 0.2, 0.3, 0.4)):
        _run(_open(path, rule), seed, accuracy)
    assert tuple(record.learning_rate for record in _open(path, rule).records()) == rates


def _one_sentence(error: RunError, path: Path, cause: str) -> None:
    assert str(error) == (
        f"{path} cannot be read or written: {cause}; free some space or mend the permissions, "
        "then go on with --resume"
    )


def test_file_that_is_no_database_is_one_sentence(path: Path) -> None:
    path.write_text("no database at all\n" * 100)
    with pytest.raises(RunError) as caught:
        _open(path)
    _one_sentence(caught.value, path, "file is not a database")


def test_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "study.db"
    with pytest.raises(RunError) as caught:
        _open(path)
    _one_sentence(caught.value, path, "unable to open database file")


def test_file_that_is_damaged_while_the_search_runs_is_one_sentence(path: Path) -> None:
    study = _open(path)
    number, _ = _start(study, 0)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE trial_values")
    with pytest.raises(RunError) as caught:
        _finish(study, number, 0.9)
    _one_sentence(caught.value, path, "no such table: trial_values")


def test_file_that_cannot_be_written_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _open(path)
    # root may write anywhere, so SQLite itself is told to refuse
    engine = study._study._storage._backend.engine  # type: ignore[attr-defined]

    def refuse(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    sqlalchemy.event.listen(engine, "checkout", refuse)
    with pytest.raises(RunError) as caught:
        study.begin(Assignment(0.1, 0, 0))
    _one_sentence(caught.value, path, "attempt to write a readonly database")
