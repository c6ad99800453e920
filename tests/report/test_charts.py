import re
from typing import Any
from xml.etree import ElementTree

import pytest

from tunecli.report.charts import best_rate, rate_chart, rate_points

Result = dict[str, Any]
SVG = "{http://www.w3.org/2000/svg}"


def parts(text: str, tag: str, **attributes: str) -> list[ElementTree.Element]:
    """The elements of a drawing with a tag and words among their attributes."""
    return [
        element
        for element in ElementTree.fromstring(text).iter(SVG + tag)
        if all(word in element.get(name, "").split() for name, word in attributes.items())
    ]


def words(text: str) -> list[str]:
    return [element.text or "" for element in parts(text, "text")]


def test_rate_chart_names_what_it_shows(search_result: Result) -> None:
    text = rate_chart(search_result, 800)
    root = ElementTree.fromstring(text)
    ids = (root.get("aria-labelledby") or "").split()
    assert [element.get("id") for element in (root[0], root[1])] == ids
    assert root[0].text == "Validation accuracy against the learning rate"
    assert "The best rate is 0.8" in (root[1].text or "")
    assert "1.6 diverged" in (root[1].text or "")


def test_every_seed_is_a_dot_and_the_order_a_number(search_result: Result) -> None:
    text = rate_chart(search_result, 800)
    assert len(parts(text, "circle", **{"class": "dot"})) == 8 * 3
    orders = [e.text for e in parts(text, "text") if "order" in (e.get("class") or "")]
    assert sorted(orders, key=lambda order: int(order or 0)) == [str(n) for n in range(1, 10)]


def test_best_rate_alone_has_the_accent_and_a_guide(search_result: Result) -> None:
    text = rate_chart(search_result, 800)
    root = ElementTree.fromstring(text)
    body = next(e for e in root.iter(SVG + "g") if e.get("clip-path"))
    accented = [e for e in body if "s0" in (e.get("class") or "").split() and e.tag != SVG + "line"]
    assert [(e[0].text or "").split(":")[0] for e in accented] == ["0.8"]
    assert len(parts(text, "line", **{"class": "guide"})) == 1


def test_diverged_rates_are_crosses_below_the_area(search_result: Result) -> None:
    text = rate_chart(search_result, 800)
    notes = [e[0].text for e in parts(text, "path", **{"class": "bad"}) if len(e)]
    assert notes == ["1.6: diverged", "3.2: diverged"]
    grid = max(float(e.get("y1", 0)) for e in parts(text, "line", **{"class": "grid"}))
    for element in parts(text, "path", **{"class": "bad"}):
        if len(element):
            first = re.match(r"M([\d.]+),([\d.]+)", element.get("d") or "")
            assert first is not None
            assert float(first[2]) > grid - 12


def test_phases_have_their_own_markers(search_result: Result) -> None:
    legend = words(rate_chart(search_result, 800))
    assert {"walk", "narrowed", "verified", "one seed", "diverged"} <= set(legend)
    phases = [point.phase for point in rate_points(search_result)]
    assert phases == ["walk"] * 7 + ["narrow"] * 2 + ["verify"] * 2
    assert [point.order for point in rate_points(search_result)][-2:] == [None, None]


def test_rate_given_up_early_is_hollow(search_result: Result) -> None:
    search_result["stop"]["points"][1]["aborted"] = True
    assert "given up early" in words(rate_chart(search_result, 800))


def test_close_up_is_left_out_where_the_whole_shows_as_much(search_result: Result) -> None:
    assert rate_chart(search_result, 400, close_up=True)
    points = search_result["stop"]["points"]
    search_result["stop"]["points"] = [p for p in points if p["learning_rate"] >= 0.4]
    search_result["certificate"] = None
    assert rate_chart(search_result, 400, close_up=True) == ""
    assert rate_chart(search_result, 400)


def test_rate_chart_of_nothing_is_nothing(search_result: Result) -> None:
    assert rate_chart({}, 800) == ""
    assert rate_chart({"stop": None, "metric": None}, 800) == ""
    search_result["stop"]["points"] = []
    search_result["certificate"] = None
    assert rate_chart(search_result, 800) == ""


def test_rate_chart_shows_a_search_in_which_everything_diverged(search_result: Result) -> None:
    points = [p for p in search_result["stop"]["points"] if p["diverged"]]
    search_result |= {"learning_rate": None, "certificate": None}
    search_result["stop"]["points"] = points
    text = rate_chart(search_result, 800)
    assert "No rate was found" in (ElementTree.fromstring(text)[1].text or "")
    assert len([e for e in parts(text, "path", **{"class": "bad"}) if len(e)]) == 1


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, 1e-9, 1e100])
def test_rate_chart_of_one_trial_has_finite_places(value: float) -> None:
    point = {"learning_rate": 0.1, "values": [value], "value": value, "diverged": False}
    text = rate_chart({"learning_rate": 0.1, "stop": {"points": [point]}}, 340)
    assert not re.search(r"\b(nan|inf)\b", text)
    assert len(parts(text, "circle", **{"class": "s0"})) >= 1


def test_best_rate_is_the_certificates_where_none_is_worth_training_with(
    search_result: Result,
) -> None:
    search_result["learning_rate"] = None
    assert best_rate(search_result) == 0.8
    assert best_rate({}) is None


@pytest.mark.parametrize("width", [340, 400, 824])
def test_drawing_stays_inside_its_width(search_result: Result, width: int) -> None:
    for element in parts(rate_chart(search_result, width), "text"):
        assert 0 <= float(element.get("x", "nan")) <= width
