import copy
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunecli.report.html import comparison_page, search_page
from tunecli.report.plain import printable

Result = dict[str, Any]
Page = Callable[[Result], str]
# strings that decide what is drawn, not what is said
CONTROL = {"name", "group", "state", "phase", "metric"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</title>",
    "</style>",
    "</svg><b onclick='x'>",
    '"',
    "'",
    "]]>",
    "<!--",
    "-->",
    "&amp;",
    "&#x3c;b&#62;",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "שלום \u202e",
    "\x00\x1b[31m",
    "\ud800",
    "W" * 300,
]
VOID = {"meta", "br"}
SEEDED = settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


class Reader(HTMLParser):
    """What a page consists of: its elements in order, its text, and whether it nests well."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.others: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.texts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def replaced(value: Any, text: str, key: str = "") -> Any:
    """A result with every string in it replaced, but those that decide what is drawn."""
    if isinstance(value, str):
        return value if key in CONTROL else text
    if isinstance(value, dict):
        return {name: replaced(entry, text, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [replaced(entry, text, key) for entry in value]
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a result; of a list only the first entries."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list):
        entries = list(enumerate(value[:2]))
    for key, entry in entries:
        yield (*path, key)
        yield from places(entry, (*path, key))


def changed(result: Result, path: tuple[Any, ...], value: object) -> Result:
    """A copy of a result with one thing in it changed."""
    found = copy.deepcopy(result)
    inner: Any = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)), max_size=4).map("".join)


@SEEDED
@given(text=TEXTS)
def test_no_text_of_a_search_becomes_markup(search_result: Result, text: str) -> None:
    assert_text_stays_text(search_page, search_result, text, ("recipe", "command", "run"))


@SEEDED
@given(text=TEXTS)
def test_no_text_of_a_comparison_becomes_markup(comparison_result: Result, text: str) -> None:
    comparison_result["methods"] = comparison_result["methods"][:4]
    assert_text_stays_text(comparison_page, comparison_result, text, ("recipe", "command"))


def assert_text_stays_text(page: Page, result: Result, text: str, shown: tuple[str, ...]) -> None:
    plain = Reader(page(replaced(result, "plain")))
    found = Reader(page(replaced(result, text)))
    assert set(found.tags) <= set(plain.tags)
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in plain.tags} - {"script", "img"}
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    assert found.others == []
    assert found.values("class") == found.values("class")
    kept = printable(text)
    if kept.strip():
        count = sum(kept == entry for entry in found.texts)
        assert count >= len(shown)


def test_every_sentence_reads_as_it_was_written(search_result: Result) -> None:
    text = " ".join(HOSTILE)
    fields: list[tuple[Any, ...]] = [
        ("recipe",),
        ("description",),
        ("command",),
        ("run",),
        ("warnings", 0),
        ("stop", "explanation"),
        ("certificate", "explanation"),
        ("certificate", "comparisons", 0, "verdict"),
        ("environment", "torch"),
        ("environment", "git", "commit"),
    ]
    for path in fields:
        reader = Reader(search_page(changed(search_result, path, f"{text} {path[-1]}")))
        told = " ".join(printable(f"{text} {path[-1]}").split())
        assert told in reader.text


def test_every_method_reads_as_it_was_named(comparison_result: Result) -> None:
    text = " ".join(HOSTILE)
    comparison_result["methods"] = comparison_result["methods"][:2]
    fields: list[tuple[Any, ...]] = [
        ("methods", 1, "label"),
        ("methods", 1, "verdict"),
        ("verdict", 0),
        ("skipped", 0, "reason"),
        ("target", "definition"),
        ("methods", 1, "group"),
    ]
    for path in fields:
        page = comparison_page(changed(comparison_result, path, f"{text} {path[-1]}"))
        assert " ".join(printable(f"{text} {path[-1]}").split()) in Reader(page).text


JUNK: list[Any] = [
    None,
    "",
    "text",
    [],
    {},
    [None],
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    True,
    10**400,
]


def test_search_with_anything_missing_or_odd_is_a_page(search_result: Result) -> None:
    search_result["trials"] = search_result["trials"][::8]
    assert_survives(search_page, search_result)


def test_comparison_with_anything_missing_or_odd_is_a_page(comparison_result: Result) -> None:
    comparison_result["methods"] = comparison_result["methods"][:3]
    for method in comparison_result["methods"]:
        method["anytime"] = {key: column[:6] for key, column in method["anytime"].items()}
    assert_survives(comparison_page, comparison_result)


def assert_survives(page: Page, result: Result) -> None:
    """Change one place at a time, each to another odd value in turn."""
    for index, path in enumerate(places(result)):
        text = page(changed(result, path, JUNK[index % len(JUNK)]))
        assert text.rstrip().endswith("</html>"), path
        assert not re.search(r'="[^"<>]*\b(nan|inf)\b[^"<>]*"', text), path


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_results_of_nothing_but_junk_are_pages(
    search_result: Result, comparison_result: Result, junk: object
) -> None:
    for page, result in ((search_page, search_result), (comparison_page, comparison_result)):
        Reader(page(dict.fromkeys(result, junk)))
        Reader(page({}))


def test_older_result_without_certificate_probe_and_curves_is_a_page(
    search_result: Result,
) -> None:
    for key in ("certificate", "probe", "command", "kind", "description"):
        del search_result[key]
    for trial in search_result["trials"] + search_result["final"]:
        for key in ("curve", "role", "reason"):
            del trial[key]
    for point in search_result["stop"]["points"]:
        del point["phase"], point["aborted"]
    del search_result["spent"]["cancelled"]
    text = Reader(search_page(search_result)).text
    assert "The rates tried" in text
    for absent in ("Learning curves", "The probe", "To do it again", "run ahead"):
        assert absent not in text


def test_first_screenful_says_what_was_found(search_result: Result) -> None:
    text = Reader(search_page(search_result)).text
    parts = ["The initial learning rate to use 0.8", "exit code 0", "Test accuracy"]
    parts += ["0.9683 ± 0.0064", "n = 5", "close to the edge of divergence", "Why it stopped"]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("code", "told"),
    [(1, "No rate learned"), (4, "edge of what was searched"), (5, "diverged"), (9, "Exit code 9")],
)
def test_exit_code_is_explained(search_result: Result, code: int, told: str) -> None:
    text = Reader(search_page({**search_result, "exit_code": code})).text
    assert told in text[: text.index("Why it stopped")]


def test_search_that_found_nothing_says_so(search_result: Result) -> None:
    search_result |= {"learning_rate": None, "test": None, "final": [], "schedule": []}
    text = Reader(search_page(search_result)).text
    assert "No usable learning rate" in text
    assert "nothing was tested" in text
    assert "The schedule" not in text
    assert "Final trainings" not in text


def test_values_that_are_of_no_test_set_are_not_called_so(search_result: Result) -> None:
    assert "each read the test set once" in Reader(search_page(search_result)).text
    assert "test accuracy" in Reader(search_page(search_result)).text
    search_result["test"] |= {"split": "validation"}
    text = Reader(search_page(search_result)).text
    assert "Validation accuracy" in text
    assert "validation values, on which the rate was chosen" in text
    assert "test accuracy" not in text
    assert "Test accuracy" not in text


def test_what_a_script_does_not_tell_is_a_dash(search_result: Result) -> None:
    nothing = {"updates": 0, "samples": 0, "epochs": None}
    spent = search_result["spent"]
    for part in (spent, *(part for part in spent.values() if isinstance(part, dict))):
        part |= nothing
    for trial in (*search_result["trials"], *search_result["final"]):
        trial |= {"updates": 0, "samples": 0}
    text = Reader(search_page(search_result)).text
    assert " 0 samples" not in text
    assert "samples of training" not in text
    assert "– – –" in text  # updates, samples and epochs of a bill


def test_one_final_training_has_no_spread(search_result: Result) -> None:
    search_result["test"] |= {"std": None, "n": 1}
    text = Reader(search_page(search_result)).text
    assert "0.9683 n = 1" in text
    assert "± 0.0064" not in text


def test_certificate_is_a_table_of_comparisons(search_result: Result) -> None:
    text = Reader(search_page(search_result)).text
    assert "1.1314 0.8 −0.0073 [−0.0098, −0.0048] 3 worse" in text
    assert "1.6 0.8 – – 0 diverged" in text
    assert "the best lies between 0.5657 and 1.1314" in text
    assert "regret 0.0000" in text
    assert "standard deviation 0.0041 between seeds, 3 seeds" in text


def test_explanations_that_agree_are_said_once(search_result: Result) -> None:
    search_result["certificate"]["explanation"] = search_result["stop"]["explanation"]
    text = Reader(search_page(search_result)).text
    assert text.count("training diverged at 1.6") == 1


def test_cost_is_told_by_part(search_result: Result) -> None:
    text = Reader(search_page(search_result)).text
    assert "search 25 14,700 403,200 375.0 10.0 s" in text
    assert "run ahead, not needed 0 588 16,128 15.0 0.4 s" in text
    assert "together 30 18,228" in text


def test_long_times_are_told_in_words(search_result: Result) -> None:
    search_result["spent"]["seconds"] = 3725.0
    assert "1 h 2 min" in Reader(search_page(search_result)).text


def test_comparison_begins_with_the_verdict(comparison_result: Result) -> None:
    text = Reader(comparison_page(comparison_result)).text
    assert text.index("for a fifth of its samples") < text.index("Method by method")
    assert "120 12 methods, 10 seeds each" in text


def test_methods_are_grouped_with_ours_first(comparison_result: Result) -> None:
    text = Reader(comparison_page(comparison_result)).text
    table = text[text.index("Method by method") : text.index("Quality by budget")]
    order = ["tunecli 0.96", "Searching the learning rate alone", "TPE 0.9", "grid 0.9"]
    order += ["Searching several", "What a person would pick", "Adam 0.9"]
    positions = [table.index(part) for part in order]
    assert positions == sorted(positions)
    assert table.count("× 5.0") == 11
    assert table.count("not within the budget") == 9
    assert "188,000 samples, × 1.9 [1.2, 3.4]" in table
    assert "188,000 samples, × 1.9 [1.2, beyond the budget]" in table
    assert table.count("p = 0.31") == 11


def test_number_of_studies_is_said_where_it_differs(comparison_result: Result) -> None:
    comparison_result["methods"][3]["final"]["n"] = 7
    text = Reader(comparison_page(comparison_result)).text
    assert text.count("n = 7") == 1
    assert text.count("n = 10") == text.count("n = 10 unless said otherwise") == 1


def test_long_verdict_is_short_in_the_table_and_whole_below(comparison_result: Result) -> None:
    long = "No significant difference between tunecli and grid: " + "a number and another " * 5
    comparison_result["methods"][3]["verdict"] = long
    text = Reader(comparison_page(comparison_result)).text
    table, below = text.split("The same in words")
    assert "a number" not in table
    assert "No significant difference between tunecli and grid" in table
    assert f"grid {long.strip()}" in below


def test_skipped_methods_are_named_with_their_reason(comparison_result: Result) -> None:
    text = Reader(comparison_page(comparison_result)).text
    assert "schedule-free the package schedulefree is not installed" in text


def test_methods_without_finished_studies_are_dashes(comparison_result: Result) -> None:
    method = comparison_result["methods"][1]
    method |= {"studies": [], "anytime": None, "final": None, "difference": None, "target": None}
    text = Reader(comparison_page(comparison_result)).text
    assert "TPE – – – 483,840" in text


@pytest.mark.parametrize("kind", ["search", "comparison"])
def test_page_loads_nothing(kind: str, search_result: Result, comparison_result: Result) -> None:
    page = search_page(search_result) if kind == "search" else comparison_page(comparison_result)
    reader = Reader(page)
    bare = page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[a-z]|@import|javascript:", bare)
    assert set(re.findall(r"url\((.)", page)) == {"#"}
    assert {"src", "href", "srcset", "action", "data", "style"}.isdisjoint(
        name for _, name, _ in reader.attributes
    )
    assert {"script", "link", "iframe", "img"}.isdisjoint(tag for tag, _ in reader.tags)
    assert any(value.startswith("default-src 'none'") for value in reader.values("content"))


@pytest.mark.parametrize("kind", ["search", "comparison"])
def test_page_is_readable_by_machines(
    kind: str, search_result: Result, comparison_result: Result
) -> None:
    page = search_page(search_result) if kind == "search" else comparison_page(comparison_result)
    assert page.startswith("<!doctype html>\n<html lang=")
    reader = Reader(page)
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    pointed = {word for value in reader.values("aria-labelledby") for word in value.split()}
    pointed |= set(re.findall(r"url\(#(.*?)\)", page))
    assert pointed <= set(ids)
    assert all("scope" in names for tag, names in reader.tags if tag == "th")
    assert sum(tag == "svg" for tag, _ in reader.tags) == reader.values("role").count("img")
    assert [tag for tag, _ in reader.tags].count("h1") == 1


STYLES = {
    name: (files("tunecli.report") / "templates" / name).read_text(encoding="utf-8")
    for name in ("chart.css", "page.css")
}
SCHEMES = [
    dict(re.findall(r"(--[\w-]+):\s*(#\w{6})", block))
    for block in re.findall(r":root \{(.*?)\}", STYLES["chart.css"], re.DOTALL)
]


def test_light_dark_and_print_define_the_same_colours() -> None:
    assert len(SCHEMES) == 3
    assert SCHEMES[0].keys() == SCHEMES[1].keys() == SCHEMES[2].keys()
    assert SCHEMES[0] != SCHEMES[1]
    used = set(re.findall(r"var\((--[\w-]+)", "".join(STYLES.values())))
    assert used - {"--c", "--d"} == set(SCHEMES[0])


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark", "print"])
def test_colours_have_contrast(scheme: dict[str, str]) -> None:
    for name, least in {"ink": 7, "soft": 4.5, "accent": 4.5, "bad": 4.5, "faint": 3}.items():
        for ground in ("paper", "raised"):
            pair = sorted(luminance(scheme[f"--{key}"]) for key in (name, ground))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= least, (name, ground)
    for name in ("s1", "s2", "s3", "s4"):
        pair = sorted(luminance(scheme[f"--{key}"]) for key in (name, "paper"))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, name


def test_series_differ_in_dash_as_well_as_in_colour() -> None:
    dashes = re.findall(r"\.s[1-4] \{[^}]*--d: ([\d ]+);", STYLES["chart.css"])
    assert len(dashes) == len(set(dashes)) == 4
