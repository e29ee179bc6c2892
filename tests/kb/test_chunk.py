"""Markdown into chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenobus_kb.chunk import DEMOTED, MAX_CHARACTERS, Chunk, chunks


def test_each_section_is_a_chunk_with_its_heading_path() -> None:
    found = chunks(
        "# Outage\n\nIntro.\n\n## Cause\n\nDisk full.\n\n### Proof\n\n`df -h`\n\n## Fix\n\nClean up.\n", "Report"
    )
    assert [(chunk.headings, chunk.text) for chunk in found] == [
        (("Outage",), "Intro."),
        (("Outage", "Cause"), "Disk full."),
        (("Outage", "Cause", "Proof"), "df -h"),
        (("Outage", "Fix"), "Clean up."),
    ]


def test_a_top_heading_that_repeats_the_title_is_left_out() -> None:
    assert chunks("# Disk Outage\n\n## Cause\n\nFull.", "disk outage") == [Chunk(("Cause",), "Full.")]


def test_front_matter_is_left_out() -> None:
    assert chunks("---\ntitle: x\nmethod: extractive\n---\n\nBody.\n") == [Chunk((), "Body.")]


def test_a_rule_in_the_text_is_no_front_matter() -> None:
    assert [chunk.text for chunk in chunks("One.\n\n---\n\nTwo.\n")] == ["One.\n\nTwo."]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("Restart it [00:01:23].", 83.0),
        ("Restart it [00:01:23](file:///talk.wav#t=83).", 83.0),
        ("Restart it ([01:00:00.5](nats://media/talk)).", 3600.5),
        (r"Restart it \[00:01:23\].", 83.0),
        ("First [00:00:09], then [00:00:20].", 9.0),
        ("Nothing about 00:01:23 as such.", None),
        ("A log: `[00:01:23] boot`", None),
        ("```\n[00:01:23] boot\n```", None),
    ],
)
def test_a_chunk_starts_at_its_first_time_marker(text: str, start: float | None) -> None:
    [chunk] = chunks(text)
    assert chunk.start == start


def test_time_markers_are_not_part_of_the_words() -> None:
    [chunk] = chunks("Restart it [00:01:23](file:///talk.wav#t=83), then wait ([00:02:00]).")
    assert chunk.text == "Restart it, then wait."


def test_a_line_keeps_its_end_and_its_other_brackets() -> None:
    [chunk] = chunks("[00:00:01] one (see [00:00:02])\n[00:00:03] two")
    assert chunk.text == "one (see)\ntwo"


def test_a_heading_lends_its_time_to_its_section() -> None:
    assert chunks("## Cause [00:00:07]\n\nDisk full.") == [Chunk(("Cause",), "Disk full.", 7.0)]


def test_parts_of_a_long_transcript_start_where_they_were_said() -> None:
    lines = [f"[00:{minute:02}:00] minute {minute} " + "word " * 60 for minute in range(20)]
    found = chunks("\n".join(lines))
    assert len(found) > 2
    for chunk in found:
        assert chunk.text.startswith(f"minute {chunk.start / 60:.0f} " if chunk.start else "minute 0 ")


def test_a_later_part_without_a_time_keeps_the_time_before_it() -> None:
    found = chunks("[00:00:05] " + "word " * 1000)
    assert len(found) > 1 and {chunk.start for chunk in found} == {5.0}


def test_a_long_section_is_cut_at_sentences() -> None:
    found = chunks("## Long\n\n" + "A sentence of seven words stands here. " * 200)
    assert len(found) > 3
    assert all(len(chunk.text) <= MAX_CHARACTERS and chunk.text.endswith(".") for chunk in found)
    assert {chunk.headings for chunk in found} == {("Long",)}


def test_a_word_without_end_is_cut_too() -> None:
    found = chunks("x" * (3 * MAX_CHARACTERS + 1))
    assert [len(chunk.text) for chunk in found] == [MAX_CHARACTERS] * 3 + [1]


def test_headings_in_code_are_code() -> None:
    assert chunks("```sh\n# not a heading\nls\n```") == [Chunk((), "# not a heading\nls")]


def test_tables_lists_links_and_tags_become_words() -> None:
    found = chunks(
        "| a | b |\n|---|---|\n| 1<br>1 | **2** |\n\n- one\n- [two](http://x)\n\n<div>three</div>\n<!-- no -->\n"
    )
    assert found == [Chunk((), "a | b\n1 1 | 2\n\none\ntwo\n\nthree")]


def test_sections_about_the_making_weigh_less() -> None:
    found = chunks("# T\n\n## Cause\n\nFull.\n\n## Provenance\n\n### Models\n\nx\n", "T")
    assert [chunk.weight for chunk in found] == [1.0, DEMOTED]


def test_a_banner_below_the_title_weighs_less() -> None:
    found = chunks("# T\n\n> Made by a machine.\n\n## Cause\n\n> Full, he said.\n", "T")
    assert [(chunk.text, chunk.weight) for chunk in found] == [("Made by a machine.", DEMOTED), ("Full, he said.", 1.0)]


def test_a_heading_alone_can_still_be_found() -> None:
    assert [chunk.headings for chunk in chunks("# A\n\n## Empty\n\n## B\n\ntext\n\n## Last\n")] == [
        ("A", "Empty"),
        ("A", "B"),
        ("A", "Last"),
    ]


@pytest.mark.parametrize("text", ["", "  \n", "---\na: b\n---\n"])
def test_an_empty_text_yields_one_empty_chunk(text: str) -> None:
    assert chunks(text) == [Chunk((), "")]


@given(st.text())
def test_any_text_can_be_cut(text: str) -> None:
    found = chunks(text)
    assert found and all(len(chunk.text) <= MAX_CHARACTERS for chunk in found)


@given(st.lists(st.from_regex(r"[a-zé東🚀]{1,12}", fullmatch=True), min_size=1, max_size=600))
def test_no_word_is_lost(words: list[str]) -> None:
    assert " ".join(chunk.text for chunk in chunks(" ".join(words))).split() == words
