from io import StringIO

from rich.console import Console

from tests.report.test_stability_table import measured
from tunecli.report.stability_view import StabilityView


def shown(*, terminal: bool) -> str:
    """All that a measurement of three points, of which one was finished before, shows."""
    console = Console(file=StringIO(), force_terminal=terminal, width=80)
    points = measured()["points"]
    with StabilityView(console) as view:
        view.sharpness(1, 2.4, 0.1)
        view.sharpness(2, 2.5, 0.002)
        view.start(points=3, finished=1, work=23, done=1)
        for point in points[1:]:
            delay = point["delay"]
            view.training(delay=delay, momentum=0.5, runs=2, rate=0.1389, share=0.5, work=delay + 1)
            view.point(point, work=delay + 1)
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
