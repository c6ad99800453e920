from typing import Any
from xml.etree import ElementTree

import pytest

from tunecli.report.delays import delay_chart, delay_lines
from tunecli.report.html import search_page

FACTS: dict[str, Any] = {
    "engine": "processes",
    "num_workers": 4,
    "momentum_kind": "none",
    "staleness_aware": False,
    "learning_rate": 0.0891,
    "scaling": {"rule": "exact", "factor": 0.2225},
    "delay": {"kind": "histogram", "mean": 3.02},
    "delays": {"2": 10, "3": 80, "4": 10},
    "mean_delay": 3.0,
    "refused": 1,
    "lost": 2,
    "replaced": 2,
    "batch_norm": "common",
}
SVG = "{http://www.w3.org/2000/svg}"


def bars(text: str) -> list[str]:
    rects = ElementTree.fromstring(text).iter(SVG + "rect")
    return [rect[0].text or "" for rect in rects if len(rect)]


def test_every_delay_has_a_bar_with_its_share() -> None:
    text = delay_chart({"asynchronous": FACTS}, 800)
    assert bars(text) == [
        "delay 2: 10.0 % of the updates",
        "delay 3: 80.0 % of the updates",
        "delay 4: 10.0 % of the updates",
    ]
    assert "mean delay 3.00" in text


def test_many_delays_share_bars_and_lose_nothing() -> None:
    delays = {str(delay): 1 for delay in range(1000)}
    found = bars(delay_chart({"asynchronous": {"delays": delays}}, 800))
    assert len(found) <= 64
    assert found[0].startswith("delays 0 to 15")
    assert sum(float(note.split()[-5]) for note in found) == pytest.approx(100, abs=2)


@pytest.mark.parametrize("facts", [None, {}, {"delays": None}, {"delays": {"x": 3, "1": 0}}, 3])
def test_without_a_measured_delay_there_is_no_chart(facts: Any) -> None:
    assert delay_chart({"asynchronous": facts}, 800) == ""


def test_lines_say_the_rate_its_factor_and_what_was_measured() -> None:
    found = dict(delay_lines(FACTS))
    assert found["Rate"] == (
        "0.0891 under delay: × 0.2225 (exact, for measured delays, 3.02 on average)"
    )
    assert found["Delay"] == (
        "3 on average, 4 at most, measured over 100 updates; 1 gradient refused; 2 workers "
        "lost, 2 replaced"
    )
    assert found["Batch norm"] == "evaluated with statistics: common"


def test_lines_of_a_staleness_aware_training_name_the_rule_and_no_rate() -> None:
    scaling = {"rule": "exact", "factor": None}
    aware = {**FACTS, "staleness_aware": True, "learning_rate": None, "scaling": scaling}
    assert dict(delay_lines(aware))["Rate"] == "every update's is scaled by its own delay (exact)"
    assert "Rate" not in dict(delay_lines({**FACTS, "learning_rate": None}))


def test_lines_of_a_centralized_training_are_none() -> None:
    assert list(delay_lines({})) == []


def test_page_of_an_asynchronous_search_shows_the_delays(search_result: dict[str, Any]) -> None:
    assert "Late gradients" not in search_page(search_result)
    page = search_page({**search_result, "asynchronous": FACTS})
    assert "Late gradients" in page
    assert "Under the delay of this training it is 0.0891" in page
    assert "delay 3: 80.0 % of the updates" in page
