import re
from io import StringIO

from rich.console import Console

from tests.report.test_stability_table import measured
from tunecli.report.stability_view import StabilityView


def shown(*, terminal: bool, length: int = 300) -> str:
    """All that a measurement of three points, of which one was finished before, shows.

    Trainings without delay are `length` updates long.
    """
    console = Console(file=StringIO(), force_terminal=terminal, width=80)
    points = measured()["points"]
    with StabilityView(console) as view:
        view.sharpness(1, 2.4, 0.1)
        view.sharpness(2, 2.5, 0.002)
        view.start(points=3, finished=1, work=23 * length, done=length)
        for point in points[1:]:
            delay, work = point["delay"], length * (point["delay"] + 1)
            view.training(delay=delay, momentum=0.5, rate=0.1389, updates=work, work=work)
            view.point(point, work=work)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_view_without_a_terminal_has_a_line_per_finished_point() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines == [
        "resumed: 1 of 3 points already finished",
        "delay=4 measured=0.1417 predicted=0.13892 ratio=1.020 finished=2/3",
        "delay=16 measured=0.038825 predicted=0.038064 ratio=1.020 finished=3/3",
    ]


def test_view_in_a_terminal_shows_the_training_and_the_time_left() -> None:
    text = shown(terminal=True)
    assert "2/3 delay 16 momentum 0.5 rate 0.1389" in text
    assert "left" in text


def test_view_says_beforehand_that_there_is_much_to_do() -> None:
    lines = shown(terminal=False, length=100_000).splitlines()
    assert lines[1] == (
        "about 5.5 million full-batch updates to come; Ctrl-C keeps what is finished"
    )


def test_view_in_a_terminal_stays_on_one_line_and_in_its_place() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=80, color_system=None)
    with StabilityView(console) as view:
        view.sharpness(1, 2.4, 0.1)
        view.start(points=14, finished=0, work=600, done=0)
        for rate in (0.1, 0.00012345):
            view.training(delay=1000, momentum=0.95, rate=rate, updates=100, work=300)
            view._progress.refresh()
    assert isinstance(console.file, StringIO)
    drawn = [
        re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line)
        for line in re.split(r"[\r\n]+", console.file.getvalue())
    ]
    bars = [line for line in drawn if "delay 1000" in line]
    assert len(bars) >= 2
    assert max(map(len, bars)) < 80
    assert len({line.index("0/14 delay") for line in bars}) == 1
    assert all("left" in line for line in drawn if "━" in line)
