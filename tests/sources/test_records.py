"""Text of HTML, records of posts, tables."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stenobus_sources.html import one_line, to_text
from stenobus_sources.kinds import shape
from stenobus_sources.tables import table


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>One</p><p>Two<br>Three</p>", "One\n\nTwo\nThree"),
        ("a &amp; b &#8211; &ntilde;", "a & b – ñ"),
        ("<h1>Top</h1><h3>Sub</h3>x", "## Top\n\n### Sub\n\nx"),
        ("<ul><li>one<li>two</ul>", "- one\n- two"),
        ("<script>alert('x')</script><style>p{}</style>seen<noscript>no</noscript>", "seen"),
        ('<a href="https://x.cl/a">here</a> <a href="javascript:x()">there</a>', "here (https://x.cl/a) there"),
        ('[vc_row el_class="x"]Text[/vc_row] [1] [sic]', "Text [1] [sic]"),
        (
            "<table><tr><th>Day</th><td>9:00</td></tr><tr><th>Night</th><td>21:00</td></tr></table>",
            "Day 9:00\n\nNight 21:00",
        ),
        ("<p>not closed <b>bold", "not closed bold"),
        ("x\x00\x07\u200by\ud800", "x y"),
        ("<img alt=\"a > b\" src=x> <p title='<b>'>c <!-- <p>no --> d", "a > b\n\nc d"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<SCRIPT>no</Script >yes <!DOCTYPE html> <?php no ?>", "yes"),
        ("", ""),
    ],
)
def test_html_becomes_text(markup: str, text: str) -> None:
    assert to_text(markup) == text


def test_a_title_is_one_line() -> None:
    assert one_line("<h2><b>Feria</b></h2><br>de C# y &#8220;libros&#8221;") == "Feria de C# y “libros”"


@pytest.mark.parametrize(
    "markup",
    [
        "<div>" * 200_000,
        "<" * 200_000,
        "[a_" * 60_000,
        "[a-" * 90_000,
        "&" * 200_000,
        "&#" + "9" * 100_000,
        "<a href='" * 50_000,
        '<p a="' * 100_000,
        "<a " + "x='y' " * 100_000,
        "</a" * 200_000,
        "<!--" * 200_000,
        "<script>" * 100_000,
    ],
    ids=lambda markup: markup[:8],
)
def test_broken_html_is_read_to_its_end(markup: str) -> None:
    """A look that went back over what it has seen would take hours."""
    assert isinstance(to_text(markup), str)


@given(st.text())
def test_any_text_is_read(markup: str) -> None:
    text = to_text(markup)
    text.encode()
    assert "\n\n\n" not in text and text == text.strip()


# --- kinds -----------------------------------------------------------------------------------------------------------

POST: dict[str, Any] = {"title": {"rendered": "Feria &amp; más"}, "content": {"rendered": "<p>Texto</p>"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20260906", "2026-09-06"),
        ("2026-09-06", "2026-09-06"),
        ("2026-09-06 19:30:00", "2026-09-06T19:30"),
        ("2026-09-06T19:30:00-03:00", "2026-09-06T19:30"),
        ("6/9/2026", "2026-09-06"),
        ("06-09-2026 9:05", "2026-09-06T09:05"),
        ("", None),
        (False, None),
    ],
)
def test_dates_as_sites_write_them(value: Any, expected: str | None) -> None:
    assert shape("event", {**POST, "acf": {"fecha_inicio": value}}, {}).model_dump()["starts"] == expected


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("page", {"title": {"rendered": ""}}, "title"),
        ("event", {"acf": {"fecha_inicio": "31/02/2026"}}, "starts"),
        ("event", {"acf": {"fecha_inicio": "2026-13-01"}}, "starts"),
        ("event", {"acf": {"fecha_inicio": "20260910", "fecha_termino": "20260909"}}, "before it starts"),
        ("question", {"content": {"rendered": "<script>x</script>"}}, "no answer"),
        ("store", {"acf": {"latitud": "120"}}, "latitude"),
        ("store", {"acf": {"sitio_web": "javascript:x"}}, "no web address"),
        ("restaurant", {"acf": {"carta": "ftp://x"}}, "menu"),
    ],
)
def test_what_breaks_its_kind_is_refused(kind: str, data: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        shape(kind, {**POST, **data}, {})


def test_an_event_may_end_on_the_day_on_which_it_starts() -> None:
    shape("event", {**POST, "acf": {"fecha_inicio": "2026-09-10 19:00", "fecha_termino": "20260910"}}, {})


def test_a_field_of_ones_own_comes_before_the_usual_places() -> None:
    data = {
        **POST,
        "acf": {"fecha_inicio": "20260910", "mine": {"day": "20261001"}, "lugar": [{"name": "A"}, {"name": "B"}]},
    }
    event = shape("event", data, {"starts": ("acf.none", "acf.mine.day")})
    assert event.metadata() == {"starts": "2026-10-01", "venue": "A, B"}
    assert event.text() == "# Feria & más\n\n- Comienza: 2026-10-01\n- Lugar: A, B\n\nTexto\n"


def test_a_store_has_a_place() -> None:
    data = {**POST, "acf": {"latitud": "-33,45", "longitud": -70.6, "piso": "2", "sitio_web": "https://x.cl"}}
    assert shape("store", data, {}).metadata() == {
        "location": "2",
        "website": "https://x.cl",
        "latitude": -33.45,
        "longitude": -70.6,
    }


# --- tables ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.fixed_dictionaries({"a": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))}))
)
def test_a_table_can_be_read_again(rows: list[dict[str, Any]]) -> None:
    content = table(("a", "b"), rows).decode()
    assert content.startswith("a,b\r\n") and content.endswith("\r\n")
    assert [row["a"] for row in csv.DictReader(io.StringIO(content, newline=""))] == [row["a"] for row in rows]


def test_what_is_no_text_is_json() -> None:
    assert table(("a", "b", "c"), [{"a": 1.5, "b": {"ñ": [True]}}]) == 'a,b,c\r\n1.5,"{""ñ"": [true]}",\r\n'.encode()
