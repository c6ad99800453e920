import struct
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.report.test_stability_table import measured, row
from tunecli.report.stability_plot import measured_plot, threshold_plot


def rows(*momenta: float) -> list[dict[str, Any]]:
    return [
        row(delay, threshold, momentum=momentum, momentum_kind="shifted" if momenta else "none")
        for momentum in momenta or (0.0,)
        for delay, threshold in ((0, 2.0), (1, 1.0), (4, 0.35))
    ]


@pytest.mark.parametrize("momenta", [(), (0.5,), (0.0, 0.5, 0.9)])
def test_threshold_plot_is_a_picture(momenta: tuple[float, ...]) -> None:
    picture = threshold_plot(rows(*momenta))
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (768, 480)


def test_threshold_plot_is_xml_as_svg() -> None:
    assert ElementTree.fromstring(threshold_plot(rows(0.5), "svg")).tag.endswith("svg")


def test_measured_plot_draws_what_a_run_has() -> None:
    result = measured()
    assert measured_plot(result).startswith(b"\x89PNG")
    alone = {**result, "points": result["points"][:1], "fits": []}
    assert measured_plot(alone).startswith(b"\x89PNG")
