import pytest

from tunecli.training.asynchronous.record import DelayRecord


def test_record_of_nothing_has_no_mean() -> None:
    assert DelayRecord(2).measurements(batch_norm="common") == {
        "delays": {},
        "mean_delay": None,
        "workers": [0, 0],
        "refused": 0,
        "lost": 0,
        "replaced": 0,
        "batch_norm": "common",
    }


def test_record_counts_by_delay_and_by_worker() -> None:
    record = DelayRecord(3)
    for worker, delay in ((0, 10), (2, 2), (2, 10)):
        record.applied(worker, delay)
    measured = record.measurements(batch_norm=None)
    assert list(measured["delays"].items()) == [("2", 1), ("10", 2)]
    assert measured["workers"] == [1, 0, 2]
    assert measured["mean_delay"] == pytest.approx(22 / 3)


def test_record_goes_on_where_it_was_kept() -> None:
    record, resumed = DelayRecord(2), DelayRecord(2)
    record.applied(1, 3)
    record.refused, record.lost, record.replaced = 1, 2, 1
    resumed.load_state_dict(record.state_dict())
    for each in (record, resumed):
        each.applied(1, 3)
    assert resumed.measurements(batch_norm=None) == record.measurements(batch_norm=None)
    assert resumed.delays == {3: 2}
