from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunecli.report.plain import printable
from tunecli.report.svg import (
    SHAPES,
    Entry,
    drawing,
    label,
    legend,
    legend_height,
    legend_rows,
    marker,
    source,
)


@given(st.text(st.characters()), st.text(st.characters()))
def test_text_of_a_drawing_survives(title: str, text: str) -> None:
    root = drawing(10, 10, name="a", title=title, description=text)
    label(root, 1, 2, text)
    read = ElementTree.fromstring(source(root))
    assert [part.text or "" for part in read] == [
        printable(title),
        printable(text),
        printable(text),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_markers_differ_and_carry_their_note(shape: str) -> None:
    drawn = {}
    for name in SHAPES:
        root = drawing(10, 10, name="a", title="", description="")
        marker(root, name, (5, 5), "mark s0", note="<here>")
        element = root[-1]
        assert element[0].text == "<here>"
        drawn[name] = (element.tag, element.get("d"), element.get("class"))
    assert sum(found == drawn[shape] for found in drawn.values()) == 1


@given(st.lists(st.text(max_size=80), max_size=9), st.floats(120, 900))
def test_legend_stays_inside_its_width(texts: list[str], width: float) -> None:
    entries = [Entry(text, "s1", "circle", line=True) for text in texts]
    rows = legend_rows(entries, width)
    assert [entry for row in rows for entry in row] == entries
    assert legend_height(entries, width) >= 19 * len(rows)
    root = drawing(width, 100, name="a", title="", description="")
    legend(root, entries, x=0, y=0, width=width)
    for text in root.iter("text"):
        assert float(text.get("x", "nan")) + 6.4 * len(text.text or "") <= width + 20
