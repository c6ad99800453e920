import threading

from tunecli.schedule.progress import FORGOTTEN, Progress, begin, noted_progress


def test_notes_are_of_what_is_begun_inside() -> None:
    begin(1)
    with noted_progress() as outer:
        first = begin(2)
        with noted_progress() as inner:
            second = begin(3)
        third = begin(4)
    begin(5)
    assert [id(note) for note in outer] == [id(first), id(third)]
    assert [id(note) for note in inner] == [id(second)]


def test_threads_have_notes_of_their_own() -> None:
    other: list[Progress] = []

    def beside() -> None:
        with noted_progress() as notes:
            begin(7)
        other.extend(notes)

    with noted_progress() as here:
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    assert here == []
    assert other == [Progress(7)]


def test_missed_updates_count_from_the_last_one_and_stay_once_it_was_forgotten() -> None:
    progress = Progress(100)
    progress.missed = FORGOTTEN - 1
    progress.count(1)
    assert (progress.made, progress.missed) == (1, 0)
    progress.missed = FORGOTTEN
    progress.count(2)
    assert (progress.made, progress.missed) == (2, FORGOTTEN)
