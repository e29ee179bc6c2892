"""What a search finds, and how it shows it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stenobus_kb.chunk import Chunk
from stenobus_kb.errors import IndexMissing
from stenobus_kb.fusion import Ranking
from stenobus_kb.index import Index
from stenobus_kb.query import MAX_TERMS, expressions
from stenobus_kb.search import Hit, Query, Searcher

from .conftest import Put, document, search

REPORT = """# Checkout outage

The shop lost its checkout on Friday.

## Symptoms

Customers saw error 503 [00:00:12](file:///talk.wav#t=12).

## Cause

The disk of the database was full, because log rotation was off [00:01:05](file:///talk.wav#t=65).

## Provenance

Made from the recording of the checkout outage: disk, log rotation, error 503, disk, disk.
"""


def titles(hits: list[Hit]) -> list[str]:
    return [hit.title for hit in hits]


def test_a_hit_says_what_where_and_when(path: Path, put: Put) -> None:
    put("talk", REPORT, title="Checkout outage", uri="nats://blobs/report")
    [hit] = search(path, "log rotation", limit=1)
    assert hit.document == "talk" and hit.collection == "documents" and hit.uri == "nats://blobs/report"
    assert hit.title == "Checkout outage" and hit.heading == "Cause" and hit.start == 65.0 and hit.score > 0
    assert [hit.snippet[start:end] for start, end in hit.highlights] == ["log", "rotation"]


def test_provenance_does_not_win(path: Path, put: Put) -> None:
    put("talk", REPORT, title="Checkout outage")
    assert search(path, "disk")[0].heading == "Cause"


def test_passages_that_count_less_do_not_hide_those_behind_them(index: Index, path: Path) -> None:
    for number in range(100):
        index.put("documents", document(f"low{number}", f"{number}"), [Chunk((), "whale whale", weight=0.2)])
    for number in range(3):
        text = "A longer text in which, among many other things, a whale is mentioned once."
        index.put("documents", document(f"full{number}", f"{number}"), [Chunk((), text)])
    with closing(Searcher(path, ranking=Ranking(depth=10))) as searcher:
        hits = searcher.search(Query("whale", limit=3)).hits
    assert sorted(hit.document for hit in hits) == ["full0", "full1", "full2"]


def test_front_matter_is_not_found(path: Path, put: Put) -> None:
    put("talk", "---\nmodel: zebra\n---\n\nGiraffes.\n")
    assert search(path, "zebra") == []


def test_a_word_in_the_title_counts_more_than_in_the_text(path: Path, put: Put) -> None:
    put("a", "The postgres server was slow, then the kernel was slow.", title="Kernel notes")
    put("b", "Some other words about a server that was slow one day.", title="Postgres vacuum")
    assert titles(search(path, "postgres")) == ["Postgres vacuum", "Kernel notes"]


def test_a_collection_is_searched_alone(path: Path, put: Put) -> None:
    put("a", "blue whale", collection="sea")
    put("b", "blue sky", collection="air")
    assert titles(search(path, "blue", collection="air")) == ["b"]
    assert sorted(titles(search(path, "blue"))) == ["a", "b"]
    assert search(path, "blue", collection="fire") == []


def test_the_limit_holds_and_one_document_does_not_fill_the_page(path: Path, put: Put) -> None:
    put("long", "\n\n".join(f"## Part {part}\n\nwhale" for part in range(10)))
    for name in "abc":
        put(name, "whale and other animals of the wide ocean")
    assert len(search(path, "whale", limit=2)) == 2
    assert titles(search(path, "whale", limit=50)).count("long") == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("exposicion nunoa", "art"),
        ("EXPOSICIÓN", "art"),
        ("Exposicio\u0301n", "art"),
        ("東京", "weather"),
        ("天気", "weather"),
        ("서울", "korea"),
        ("ภาษา", "thai"),
        ("🚀", "launch"),
        ("🤖", "launch"),
        ("ERR_CONN_REFUSED", "network"),
        ("192.168.0.1", "network"),
        ("/etc/nginx/nginx.conf", "network"),
        ('"connection was"', "network"),
    ],
)
def test_words_of_many_kinds_are_found(path: Path, put: Put, query: str, found: str) -> None:
    put("art", "La exposición de Ñuñoa abre mañana.")
    put("weather", "東京都の天気は晴れです。")
    put("korea", "서울에서 만나요")
    put("thai", "ภาษาไทยง่าย")
    put("launch", "We ship it🚀🤖!")
    put("network", "The connection was refused: ERR_CONN_REFUSED by 192.168.0.1, see /etc/nginx/nginx.conf.")
    assert titles(search(path, query)) == [found]


def test_characters_of_one_script_must_stand_together(path: Path, put: Put) -> None:
    put("weather", "東の京")
    assert search(path, "東京") == []


def test_highlights_of_uncut_scripts_fit_the_snippet(path: Path, put: Put) -> None:
    put("weather", "東京都の天気")
    [hit] = search(path, "天気")
    assert hit.snippet == "東京都の天気" and hit.highlights == ((4, 6),)


def test_all_words_win_over_some(path: Path, put: Put) -> None:
    put("both", "nginx failed to reload because of a missing certificate on the second of the two machines")
    put("one", "nginx nginx nginx")
    assert titles(search(path, "nginx certificate")) == ["both", "one"]
    assert titles(search(path, "nginx certificate", limit=1)) == ["both"]


def test_beginnings_are_tried_when_words_find_nothing(path: Path, put: Put) -> None:
    put("a", "The certificates expired.")
    assert titles(search(path, "certif expir")) == ["a"]


def test_some_words_are_enough_when_all_find_nothing(path: Path, put: Put) -> None:
    put("a", "The certificates expired.")
    put("b", "Nothing to see.")
    assert titles(search(path, "why have our certificates died?")) == ["a"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("certificado vencido", "Los certificados han sido vencidos."),
        ("restaurantes veganos", "Un restaurante vegano"),
        ("informação", "As informações do museu"),
        ("running migrations", "We run the migration at night."),
    ],
)
def test_inflections_are_found_and_highlighted(path: Path, put: Put, query: str, found: str) -> None:
    put("a", found)
    put("b", "Something else entirely.")
    [hit] = search(path, query)
    assert hit.document == "a" and hit.highlights


def test_words_that_tell_nothing_do_not_find_but_count_when_all_are_there(path: Path, put: Put) -> None:
    put("a", "the of and to be or not to be")
    put("b", "a giraffe")
    assert titles(search(path, "where is the giraffe")) == ["b"]
    assert titles(search(path, "to be or not to be")) == ["a"]


def test_nothing_is_found_for_nothing(path: Path, put: Put) -> None:
    put("a", "text")
    assert search(path, "") == search(path, " -- ?! ") == search(path, "absent") == []


def test_a_document_without_words_is_found_by_its_title(path: Path, put: Put) -> None:
    put("a", "", title="Quarterly review")
    [hit] = search(path, "quarterly")
    assert hit.snippet == "" and hit.heading == ""


def test_a_page_for_a_query_is_cut_short() -> None:
    strict, *_ = expressions(" ".join(f"word{number}" for number in range(10_000)))
    assert len(strict.split()) == MAX_TERMS


def test_before_the_first_document_one_sentence_says_so(path: Path) -> None:
    with pytest.raises(IndexMissing, match=r"no index .* yet"):
        search(path, "anything")


@example('"')
@example("AND")
@example("NEAR(a b)")
@example("title:x OR * ^ -")
@example("a\x00b")
@example("\ud800 broken")
@example("x'; DROP TABLE documents; --")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text() | st.text(alphabet='"*^:(){}+-,ANDORNEAT \x00\x02\u200b東🚀é'))
def test_any_string_is_a_query(path: Path, put: Put, query: str) -> None:
    put("a", "AND OR NOT NEAR text 東京 🚀")
    search(path, query)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=12))
def test_a_word_finds_the_document_it_stands_in(path: Path, put: Put, word: str) -> None:
    put("a", f"before {word} after")
    assert titles(search(path, word)) == ["a"]
