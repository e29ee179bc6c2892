"""Foreign words in Markdown show as themselves; foreign Markdown stays tame."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from stenobus_documents.markdown import escape, front_matter, parse, parser, read_front_matter, tame, time_link
from stenobus_documents.text import clock, title_from_name

MARKUP = st.lists(
    st.sampled_from(
        [
            "<b>",
            "</b>",
            "<!--",
            "-->",
            "<?x",
            "`",
            "``",
            "```",
            "~~~",
            "\n",
            "\n\n",
            "    ",
            "# ",
            "- ",
            "> ",
            "|",
            "[a]",
            "(http://x)",
            "![",
            "](",
            "*",
            "_",
            "\\",
            "text",
            " ",
            "&lt;",
            "<a href='x'>",
            "1. ",
            "---",
            "[^1]",
            ":",
            "^[n]",
        ]
    ),
    max_size=25,
).map("".join)


def html(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    return [token.content for token in (*tokens, *inline) if token.type in {"html_block", "html_inline"}]


@settings(max_examples=500, deadline=None)
@given(MARKUP)
def test_a_tame_section_has_no_html_and_ends_where_it_ends(section: str) -> None:
    tamed = tame(section, level=3)
    assert html(tamed) == []
    document = parser().parse(f"## Before\n\n{tamed}\n\n## After\n")
    headings = [token.tag for token in document if token.type == "heading_open"]
    assert headings[0] == headings[-1] == "h2"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab1 *_`[]()<>!#+-.&;|~\\=:é/"), min_size=1, max_size=30))
def test_escaped_words_show_as_they_are(words: str) -> None:
    words = " ".join(words.split())
    if not words:
        return
    for markdown, place in ((f"| x |\n|---|\n| {escape(words)} |\n", "td"), (f"- {escape(words)}\n", "list_item")):
        shown = next(node for node in parse(markdown).walk() if node.type == place)
        assert "".join(node.content for node in shown.walk() if node.type in {"text", "code_inline"}) == words


def test_code_keeps_its_angle_brackets() -> None:
    section = "Use `a <b> c`.\n\n```sh\ncat <file>\n```"
    assert tame(section, level=3) == section


def test_headings_of_a_section_begin_below_it() -> None:
    assert tame("# A\n\n## B\n\n```\n# not one\n```", level=3) == "### A\n\n#### B\n\n```\n# not one\n```"
    assert tame("### A", level=3) == "### A"


def test_time_links() -> None:
    assert time_link("00:01:23", "file:///a b/(x).mp4", 83.9) == "[00:01:23](file:///a%20b/%28x%29.mp4#t=83)"
    assert time_link("00:01:23", "file:///a%20b.mp4", 83) == "[00:01:23](file:///a%20b.mp4#t=83)"
    assert time_link("00:01:23", "nats://stenobus/abc", 83) == r"\[00:01:23\]"
    assert time_link("00:01:23", None, 83) == r"\[00:01:23\]"


def test_front_matter_comes_back() -> None:
    fields = {"title": 'A "quoted": title', "source": "file:///x#y", "language": "pt-BR"}
    text = front_matter(fields)
    node = parse(f"{text}\n# A\n").children[0]
    assert (node.type, read_front_matter(node.content)) == ("front_matter", fields)
    assert read_front_matter('title: plain\nlist:\n  - a\nempty:\nbroken: "x') == {"title": "plain", "broken": '"x'}


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("disk_full-on-build.host.mp4", "Disk full on build.host"),
        ("talk.transcript.json", "Talk"),
        ("Reunião%20de%20segunda.wav", "Reunião de segunda"),
        ("v2.1 release.mkv", "V2.1 release"),
        ("/a/b/c.wav", "C"),
        ("5e" * 32, None),
        ("...", None),
        ("", None),
    ],
)
def test_titles_from_names(name: str, title: str | None) -> None:
    assert title_from_name(name) == title


def test_the_clock_never_runs_ahead() -> None:
    assert [clock(seconds) for seconds in (0, 59.99, 3661.5, 360000)] == [
        "00:00:00",
        "00:00:59",
        "01:01:01",
        "100:00:00",
    ]
