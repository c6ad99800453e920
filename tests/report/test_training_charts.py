import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from tunecli.report.training_charts import curve_chart, probe_chart, schedule_chart

Result = dict[str, Any]
SVG = "{http://www.w3.org/2000/svg}"


def words(text: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(text).iter(SVG + "text")]


def lines(text: str, kind: str) -> list[str]:
    """The notes of the lines of a kind."""
    found = ElementTree.fromstring(text).iter(SVG + "path")
    return [
        e[0].text or "" if len(e) else "" for e in found if kind in (e.get("class") or "").split()
    ]


def test_curves_of_the_best_rate_stand_out(search_result: Result) -> None:
    text = curve_chart(search_result, 800)
    strong = [note for note in lines(text, "strong") if note]
    assert len(strong) == 3
    assert all(note.startswith("rate 0.8, seed ") for note in strong)
    dashed = [note for note in lines(text, "dashed") if note]
    assert {note.split(",")[0] for note in dashed} == {"rate 1.1314", "rate 1.6"}
    assert len([note for note in lines(text, "thin") if note]) == 25 - 3


def test_diverged_curve_ends_with_a_cross(search_result: Result) -> None:
    notes = lines(curve_chart(search_result, 800), "stroked")
    assert len(notes) == 1
    assert notes[0].endswith("diverged")


def test_curve_labels_do_not_overlap(search_result: Result) -> None:
    root = ElementTree.fromstring(curve_chart(search_result, 800))
    labels = [e for e in root.iter(SVG + "text") if float(e.get("x", 0)) > 740]
    places = sorted(float(e.get("y", 0)) for e in labels)
    assert len(places) == 8
    assert all(b - a > 13 for a, b in pairwise(places))


def test_results_without_curves_have_no_curve_chart(search_result: Result) -> None:
    for trial in search_result["trials"]:
        del trial["curve"]
    assert curve_chart(search_result, 800) == ""


def test_schedule_draws_every_quantity_and_says_its_values(search_result: Result) -> None:
    found = words(schedule_chart(search_result, 800))
    for name in ("learning rate α", "momentum β", "discount ν", "batch size b", "updates"):
        assert name in found
    assert found.count("0.7") == 2  # a value that never changes is said once, and on the axis
    assert {"0.8", "0.4", "0.2", "16", "32", "64"} <= set(found)


def test_schedule_steps_at_the_stages_ends(search_result: Result) -> None:
    root = ElementTree.fromstring(schedule_chart(search_result, 1066))
    path = next(e for e in root.iter(SVG + "path") if "strong" in (e.get("class") or ""))
    corners = [float(x) for x, _ in re.findall(r"([\d.]+),([\d.]+)", path.get("d") or "")]
    wide = 1066 - 50 - 16
    ends = [50 + wide * end / 588 for end in (0, 336, 504, 588)]
    assert corners == pytest.approx([ends[0], ends[1], ends[1], ends[2], ends[2], ends[3]], abs=0.1)


def test_schedule_leaves_out_what_stages_lack() -> None:
    stages = [{"learning_rate": 0.1, "steps": 10}, {"learning_rate": 0.05, "steps": 10}]
    found = words(schedule_chart({"schedule": stages}, 340))
    assert "momentum β" not in found
    assert schedule_chart({"schedule": []}, 340) == ""
    assert schedule_chart({"schedule": [{"steps": None}]}, 340) == ""


def test_probe_marks_where_learning_starts_and_ends(search_result: Result) -> None:
    found = words(probe_chart(search_result, 800))
    assert "starts at 0.012" in found
    assert "diverges at 3.1" in found


@pytest.mark.parametrize(
    "probe",
    [
        None,
        {},
        {"learning_rates": [0.1], "losses": [1.0]},
        {"learning_rates": [0.1, 0.2], "losses": None},
    ],
)
def test_result_without_a_ramp_has_no_probe_chart(probe: object) -> None:
    assert probe_chart({"probe": probe}, 800) == ""


def test_probe_without_marks_is_drawn() -> None:
    probe = {"learning_rates": [0.1, 0.2, 0.4], "losses": [2.0, 1.0, None], "diverges": None}
    assert "training loss" in words(probe_chart({"probe": probe}, 340))
