import re
from typing import Any
from xml.etree import ElementTree

import pytest

from tunecli.report.comparison_charts import (
    anytime_charts,
    final_chart,
    method_groups,
)

Result = dict[str, Any]
SVG = "{http://www.w3.org/2000/svg}"


def words(text: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(text).iter(SVG + "text")]


def classes(text: str, word: str) -> list[ElementTree.Element]:
    found = ElementTree.fromstring(text).iter()
    return [element for element in found if word in (element.get("class") or "").split()]


def test_ours_stands_in_every_panel_with_at_most_four_others(comparison_result: Result) -> None:
    panels = anytime_charts(comparison_result, 560)
    assert len(panels) == 4
    labels = [
        [
            e.text
            for e in ElementTree.fromstring(panel).iter(SVG + "text")
            if e.get("class") == "key"
        ]
        for panel in panels
    ]
    assert all(found[0] == "tunecli" and 2 <= len(found) <= 5 for found in labels)
    others = [name for found in labels for name in found[1:]]
    assert sorted(map(str, others)) == sorted(
        method["label"] for method in comparison_result["methods"][1:]
    )


def test_methods_differ_by_marker_and_class_in_a_panel(comparison_result: Result) -> None:
    panel = anytime_charts(comparison_result, 560)[0]
    for index in (1, 2, 3):
        assert classes(panel, f"s{index}")
    shapes = {e.get("d", e.tag)[-9:] for e in classes(panel, "sign") for e in e}
    assert len(shapes) > 3


def test_bands_hold_the_intervals(comparison_result: Result) -> None:
    for panel in anytime_charts(comparison_result, 560):
        count = len([e for e in classes(panel, "line") if e.tag == SVG + "path" and len(e)])
        assert len(classes(panel, "band")) == count


def test_method_without_anytime_is_left_out_and_none_at_all_gives_no_panel(
    comparison_result: Result,
) -> None:
    for method in comparison_result["methods"]:
        if method["group"] == "joint":
            method["anytime"] = None
    assert len(anytime_charts(comparison_result, 560)) == 3
    for method in comparison_result["methods"]:
        method["anytime"] = {"samples": [], "mean": []}
    assert anytime_charts(comparison_result, 560) == []
    assert anytime_charts({}, 560) == []


def test_ours_alone_gets_a_panel(comparison_result: Result) -> None:
    comparison_result["methods"] = comparison_result["methods"][:1]
    assert len(anytime_charts(comparison_result, 560)) == 1


def test_comparison_without_ours_is_drawn(comparison_result: Result) -> None:
    comparison_result["methods"] = comparison_result["methods"][1:]
    assert len(anytime_charts(comparison_result, 560)) == 4
    assert final_chart(comparison_result, 824)


@pytest.mark.parametrize("width", [340, 824])
def test_final_chart_has_a_row_a_method_and_a_dot_a_study(
    comparison_result: Result, width: int
) -> None:
    text = final_chart(comparison_result, width)
    assert {method["label"] for method in comparison_result["methods"]} <= set(words(text))
    inside = [e for e in classes(text, "dot") if e.tag == SVG + "circle"]
    assert len(inside) == 12 * 10 - 1
    assert len([e for e in classes(text, "hollow") if "beyond the axis" in (e[0].text or "")]) == 1


def test_failed_study_does_not_press_the_others_together(comparison_result: Result) -> None:
    ticks = [
        float(w) for w in words(final_chart(comparison_result, 824)) if re.match(r"0\.\d+$", w)
    ]
    assert min(ticks) > 0.9
    assert any("◂ 0.9" in word for word in words(final_chart(comparison_result, 824)))


def test_loss_is_drawn_with_its_best_end_kept(comparison_result: Result) -> None:
    comparison_result |= {"metric": "loss", "maximize": False}
    for method in comparison_result["methods"]:
        anytime = method["anytime"]
        for key in ("mean", "low", "high"):
            anytime[key] = [1 - value for value in anytime[key]]
        anytime["low"], anytime["high"] = anytime["high"], anytime["low"]
    panel = anytime_charts(comparison_result, 560)[0]
    ticks = [float(w) for w in words(panel) if re.match(r"0\.\d+$", w)]
    assert min(ticks) < 0.035 < max(ticks) < 0.2


@pytest.mark.parametrize("studies", [1, 2])
def test_few_studies_are_drawn(comparison_result: Result, studies: int) -> None:
    for method in comparison_result["methods"]:
        method["studies"] = method["studies"][:studies]
        if studies == 1:
            method["final"] |= {"low": None, "high": None, "n": 1}
    assert len(classes(final_chart(comparison_result, 824), "dot")) >= 11 * studies


def test_methods_without_finished_studies_have_no_row(comparison_result: Result) -> None:
    comparison_result["methods"][1] |= {"studies": [], "final": None}
    assert "TPE" not in words(final_chart(comparison_result, 824))
    assert final_chart({"methods": []}, 824) == ""


def test_unknown_group_keeps_its_name() -> None:
    methods = [{"name": "x", "group": "new"}, {"name": "tunecli", "group": None}]
    assert [key for key, _, _ in method_groups({"methods": methods})] == ["tunecli", "new"]
