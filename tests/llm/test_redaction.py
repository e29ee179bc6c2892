"""What leaves the host, what stays, and that whoever asked notices nothing of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stenobus_contracts import Evidence, Item, LlmChunk, LlmDone, LlmRequest, Message, Segment, Tool, ToolCall
from stenobus_core.sensitive import FINDERS, lower
from stenobus_documents.grounding import ground
from stenobus_llm.cli import llm
from stenobus_llm.providers import Completion
from stenobus_llm.redaction import Hidden, Pieces, Redaction
from stenobus_llm.relay import Relay
from stenobus_llm.router import Means, Router
from stenobus_llm.settings import Settings, Target

EVERYTHING = Redaction(FINDERS)
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAA/+==\n-----END OPENSSH PRIVATE KEY-----"
TOKEN = "ghp_" + "a1B2" * 9


def request(*texts: str, **more: Any) -> LlmRequest:
    messages = tuple(Message(role="user", content=text) for text in texts)
    return LlmRequest(task="acme.ask", messages=messages, **more)


def hidden(text: str, redaction: Redaction = EVERYTHING) -> str:
    return redaction.hide(request(text)).hide(text)


# --- what is hidden --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("password=hunter2x;", "password=SECRET-X1-1;"),
        ('{"password": "p@ss w0rd"}', '{"password": "SECRET-X1-1"}'),
        ("pwd: letmein", "pwd: SECRET-X1-1"),
        ("the password is hunter2x.", "the password is SECRET-X1-1."),
        ("mysql --password hunter2x -u root", "mysql --password SECRET-X1-1 -u root"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "AWS_SECRET_ACCESS_KEY=SECRET-X1-1"),
        ("id AKIAIOSFODNN7EXAMPLE here", "id SECRET-X1-1 here"),
        (f"export GH={TOKEN}", "export GH=SECRET-X1-1"),
        ("Authorization: Bearer abcdef0123456789abc", "Authorization: Bearer SECRET-X1-1"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3", "jwt SECRET-X1-1"),
        ("postgres://app:s3cr3t!@db:5432/x", "postgres://app:SECRET-X1-1@db:5432/x"),
        ("amqp://u:pw1@mq.example.com", "amqp://u:SECRET-X1-1@mq.example.com"),
        ("https://0123456789abcdef0123@git.example/x", "https://SECRET-X1-1@git.example/x"),
        ("seed SUAIBDPBAUTWCWBKIO6XHQNINK5FWJW4OHLXC3HQ2KFE4PEJUA44CNHTC4.", "seed SECRET-X1-1."),
        (f"before\n{KEY}\nafter", "before\nSECRET-X1-1\nafter"),
        (KEY.partition("\n-----END")[0], "SECRET-X1-1"),
        ("ask jane.doe+x@corp.example.com, please", "ask EMAIL-X1-1, please"),
        ("Jörg@firma.de_x", "EMAIL-X1-1_x"),
        ("host 10.2.0.1:8080, net 172.16.0.0/12", "host IP-X1-1:8080, net IP-X1-2/12"),
        ("10.1.1.1-10.1.1.9", "IP-X1-1-IP-X1-2"),
        ("ssh root@192.168.3.4", "ssh root@IP-X1-1"),
        ("[2001:db8:85a3::8a2e:370:7334]:443 and fe80::1ff:fe23:4567:890a.", "[IP-X1-1]:443 and IP-X1-2."),
        ("DE89 3704 0044 0532 0130 00 EUR", "ACCOUNT-X1-1 EUR"),
        ("GB82WEST12345698765432.", "ACCOUNT-X1-1."),
        ("card 4111 1111 1111 1111, 378282246310005", "card ACCOUNT-X1-1, ACCOUNT-X1-2"),
        ("account number 12345678", "account number ACCOUNT-X1-1"),
        ("Kontonummer: 0532013000, SSN 123-45-6789", "Kontonummer: ACCOUNT-X1-1, SSN ACCOUNT-X1-2"),
    ],
)
def test_what_is_nobody_elses_business_is_hidden(text: str, without: str) -> None:
    assert hidden(text) == without
    assert EVERYTHING.hide(request(text)).restore(without) == text


@pytest.mark.parametrize(
    "text",
    [
        "the password is wrong, and the token is missing",
        "password: required, token: string, max_tokens=4096",
        "token = tokenizer.encode(text); key = row[0]; password = os.environ['PW']; pwd=${DB_PASS}",
        "foo==10.2.0.1, version 10.2.0.1, v10.2.0.1, driver-10.2.0.1, 10.2.0.1-rc2, release: 10.2.0.1",
        "OID 1.3.6.1.4.1, 127.0.0.1:8000, 0.0.0.0, 255.255.255.0, 1.2.3, 300.1.1.1, 10.02.0.1",
        "std::cafe, a[1::2], 12:34:56, ::1, aa:bb:cc:dd:ee:ff, S0412",
        "git clone git@github.com:acme/x.git, npm i left-pad@1.3.0, @app.route",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 3f2a9c1 of task-list-of-something-quite-long, 123e4567-e89b-12d3-a456-426614174000",
        "order 12345678, 4111 1111 1111 1112, 1732199999123456, 2024-11-21 12:00, account since 2024-11-21",
        "kubectl get pods -n prod --sort-by=.metadata.creationTimestamp | grep -v Running",
    ],
)
def test_versions_commands_and_identifiers_stay_readable(text: str) -> None:
    assert hidden(text) == text


def test_a_secret_is_hidden_where_its_name_is_missing_too() -> None:
    found = EVERYTHING.hide(request("password=hunter2x", "then type hunter2x, as jane@corp.example"))

    assert [message.content.rpartition("\n\n")[2] for message in found.request.messages] == [
        "password=SECRET-X1-1", "then type SECRET-X1-1, as EMAIL-X1-2",
    ]  # fmt: skip
    assert found.counts == {"secret": 1, "email": 1}


def test_each_kind_has_a_switch_and_patterns_add_to_them() -> None:
    text = "jane@corp.example at 10.9.8.7 about ACME-1234 of user=u77"
    redaction = Redaction({"ip"}, {"ticket": r"ACME-\d+", "login": r"user=(?P<value>\w+)"})

    assert hidden(text, redaction) == "jane@corp.example at IP-X1-1 about TICKET-X1-2 of user=LOGIN-X1-3"


@pytest.mark.parametrize(
    ("patterns", "complaint"),
    [
        ({"ticket": "("}, "is no regular expression"),
        ({"ticket": "x*"}, "fits an empty text"),
        ({"ticket": "x" * 501}, "at most 500"),
        ({"ticket": r"(\w+\s?)+$"}, "takes too long"),
        ({"Ticket-1": "x"}, "is no name for a pattern"),
        ({"email": "x"}, "is no name for a pattern"),
        ({chr(97 + n) * 2: "x" for n in range(21)}, "at most 20"),
    ],
)
def test_a_pattern_that_cannot_be_had_is_refused_with_the_reason(patterns: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(redact_patterns=patterns)


async def test_a_pattern_that_takes_too_long_keeps_the_prompt_at_home(server: Any) -> None:
    slow = {"slow": r"(?:x?){40}x{40}z"}  # quick on everything but many an x

    done = await answer(server, request("x" * 5000), redact_patterns=slow)

    assert done.error is not None and (done.error.code, server.received) == ("unsupported", [])
    assert "slow" in done.error.message


# --- and put back ----------------------------------------------------------------------------------------------------

SECRETS = st.one_of(
    st.from_regex(r"ghp_[A-Za-z0-9]{36}", fullmatch=True),
    st.from_regex(r"AKIA[A-Z0-9]{16}", fullmatch=True),
    st.from_regex(r"[a-z]{3,8}\.[a-z]{2,8}@[a-z]{3,8}\.(com|de|example)", fullmatch=True),
    st.from_regex(r"10\.[1-9][0-9]\.[1-9][0-9]\.[1-9][0-9]", fullmatch=True),
    st.from_regex(r"2001:db8:[1-9a-f]{3}:[1-9a-f]{3}::[1-9a-f]{3}", fullmatch=True),
    st.from_regex(r"https://ci:[a-z]{4}[0-9]{4}@git", fullmatch=True).map(lambda url: url[11:19]),
    st.sampled_from([KEY, "4111111111111111", "DE89370400440532013000"]),
)
NOISE = st.text(alphabet=st.sampled_from("ab Z09 .,:;-_@/=\"'\\{}[]\n\t<>ßİé磁\U0001f600X1"), max_size=40)
FORGED = st.sampled_from(["EMAIL-X1-1", "secret-x2-01", "-X1-", "-X3-X4-", "IP-X1-2", "X1-1", "password=", "user: "])


@given(st.lists(st.one_of(NOISE, SECRETS, FORGED), max_size=12).map("".join))
@example("-X1-X2-X3- jane@corp.example")
@example("Zjane@corp.example 10.1.2.3 Z10.1.2.3")
@hypothesis_settings(max_examples=400, deadline=None)
def test_what_was_hidden_comes_back_whatever_stood_around_it(text: str) -> None:
    found = EVERYTHING.hide(request(text))

    assert found.restore(found.hide(text)) == text
    assert json.loads(found.restore(json.dumps(found.hide(text)), as_json=True)) == text


@given(st.lists(st.one_of(NOISE, SECRETS, FORGED), max_size=8).map("".join), st.lists(st.integers(1, 9), min_size=1))
@hypothesis_settings(max_examples=200, deadline=None)
def test_pieces_of_any_size_come_back_as_the_whole(text: str, sizes: list[int]) -> None:
    found = EVERYTHING.hide(request(text))
    heard: list[str] = []

    async def hear(piece: str) -> None:
        heard.append(piece)

    async def stream() -> None:
        pieces, rest = Pieces(found, hear), found.hide(text)
        for number in range(len(rest)):
            size = sizes[number % len(sizes)]
            await pieces.take(rest[:size])
            rest = rest[size:]
        await pieces.end()

    asyncio.run(stream())
    assert "".join(heard) == text


@given(st.lists(st.tuples(SECRETS, st.sampled_from([" ", "\n", ", ", " (", '"'])), min_size=1, max_size=10))
@hypothesis_settings(max_examples=200, deadline=None)
def test_no_secret_of_a_generated_set_is_sent(secrets: list[tuple[str, str]]) -> None:
    text = "".join(
        f"{gap}{'https://ci:' * (len(secret) == 8)}{secret}{'@git' * (len(secret) == 8)} " for secret, gap in secrets
    )

    sent = EVERYTHING.hide(request(text)).request.model_dump_json()

    assert not [secret for secret, _ in secrets if json.dumps(secret)[1:-1] in sent]


def test_case_is_changed_by_models_and_numbers_are_made_up_by_them() -> None:
    found = EVERYTHING.hide(request("jane@corp.example"))

    assert found.restore("Ask email-x1-1 or EMAIL-X1-7.") == "Ask jane@corp.example or EMAIL-X1-7."


def test_the_same_value_is_the_same_word_and_the_request_is_sent_as_it_is_where_nothing_is_hidden() -> None:
    plain = request("Why?")
    both = EVERYTHING.hide(request("10.1.1.1 calls 10.1.1.2", "10.1.1.2 is down"))

    assert EVERYTHING.hide(plain).request is plain
    assert both.request.messages[1].content == "IP-X1-2 is down"


def test_lower_case_leaves_every_character_in_its_place() -> None:
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))

    assert len(lower(every)) == len(every)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----" * 5000,
        "-X1" * 40_000 + "- jane@corp.example",
        "a@" * 60_000,
        "@" * 120_000,
        "1" * 120_000,
        "1 " * 60_000,
        "1." * 60_000,
        "a:" * 60_000,
        "::" * 60_000,
        "password=" * 13_000,
        "password " * 13_000,
        "://a:" * 24_000,
        "eyJ" * 40_000,
        "eyJaaaaaaaa." * 10_000,
        "eyJ-" * 30_000,
        f"@{'a' * 60}" * 2_000,
        'password: "a' * 10_000,
        "AB12" * 30_000,
        "account " * 15_000,
    ],
)
def test_the_time_grows_with_the_text_whatever_it_is(text: str) -> None:
    began = time.process_time()

    EVERYTHING.hide(request(text))

    assert time.process_time() - began < 60, "what is quadratic takes minutes"


# --- the router ------------------------------------------------------------------------------------------------------


async def answer(server: Any, asked: LlmRequest, means: Means | None = None, **changes: Any) -> LlmDone:
    target = Target(
        name="cloud", base_url=server.url, model="m", timeout=60, **({"local": False} | changes.pop("target", {}))
    )
    router = Router(Settings(targets=(target,), **changes))
    try:
        outcome = await router.answer(asked, means or Means())
    finally:
        await router.close()
    return outcome.done(asked, "request-1")


def sent(server: Any, number: int = -1) -> str:
    return json.dumps(server.received[number].body, ensure_ascii=False)


@pytest.mark.parametrize(
    ("where", "leaves"),
    [
        ({"target": {"local": False}}, False),
        ({"target": {"local": True}}, True),
        ({"target": {"local": False, "redact": False}}, True),
        ({"target": {"local": True, "redact": True}}, False),
        ({"target": {"local": False}, "redact": False}, True),
        ({"target": {"local": False}, "redact_kinds": {"ip"}}, True),
    ],
)
async def test_what_does_not_stay_sees_no_secret_unless_the_settings_say_so(
    server: Any, where: dict[str, Any], leaves: bool
) -> None:
    server.completes("ok")

    await answer(server, request("Mail jane@corp.example."), **where)

    assert ("jane@corp.example" in sent(server)) is leaves


async def test_the_answer_and_all_of_the_request_pass(server: Any) -> None:
    tool = Tool(name="mail", description="as jane@corp.example", parameters={"enum": ["jane@corp.example"]})
    calls = (ToolCall(id="call_1", name="mail", arguments=json.dumps({"key": KEY})),)
    asked = LlmRequest(
        task="acme.ask",
        tools=(tool,),
        messages=(
            Message(role="user", content=f"Use {KEY}"),
            Message(role="assistant", content="", tool_calls=calls),
            Message(role="tool", content="sent to jane@corp.example", tool_call_id="call_1"),
        ),
    )
    call = {"id": "call_2", "type": "function", "function": {"name": "mail", "arguments": '{"key": "SECRET-X1-1"}'}}
    server.completes("For EMAIL-X1-2.", finish="tool_calls", tool_calls=[call])

    done = await answer(server, asked, target={"capabilities": {"tools"}})

    assert "jane" not in sent(server) and "b3BlbnNzaC1rZXk" not in sent(server)
    assert done.text == "For jane@corp.example."
    assert json.loads(done.tool_calls[0].arguments) == {"key": KEY}


SCHEMA = {
    "type": "object",
    "properties": {
        "mail": {"type": "string", "pattern": "^[a-z]+@[a-z.]+$", "maxLength": 17},
        "id": {"type": "string", "pattern": "^S[0-9]{4}$"},
    },
    "required": ["mail", "id"],
    "additionalProperties": False,
}


async def test_a_schema_takes_placeholders_on_the_way_and_values_at_the_end(server: Any) -> None:
    server.completes('{"mail": "EMAIL-X1-1", "id": "S0001"}')

    done = await answer(server, request("jane@corp.example", response_schema=SCHEMA))
    properties = server.received[0].body["response_format"]["json_schema"]["schema"]["properties"]

    assert (done.data, done.error) == ({"mail": "jane@corp.example", "id": "S0001"}, None)
    assert json.loads(done.text) == done.data
    assert properties["id"]["pattern"] == "(?:^S[0-9]{4}$)|(?:EMAIL-X1-)[0-9]{1}"


async def test_a_value_with_quotes_and_lines_comes_back_into_json(server: Any) -> None:
    server.completes('{"mail": "SECRET-X1-1"}')

    done = await answer(server, request(f"Use {KEY}", response_schema={"type": "object"}))

    assert done.data == {"mail": KEY}


async def test_an_answer_is_held_against_its_schema_after_all_and_mended_without_a_secret(server: Any) -> None:
    server.completes('{"mail": "x EMAIL-X1-1", "id": "S0001"}')  # fits what was sent
    server.completes('{"mail": "EMAIL-X1-1", "id": "S0001"}')

    done = await answer(server, request("jane@corp.example", response_schema=SCHEMA))
    *_, wrong, complaint = server.received[1].body["messages"]

    assert (done.repairs, done.error) == (1, None)
    assert "jane" not in sent(server, 1)
    assert wrong["content"] == '{"mail": "x EMAIL-X1-1", "id": "S0001"}'
    assert "x EMAIL-X1-1" in complaint["content"], "it says what is wrong, in the words of the prompt"


async def test_a_failure_has_its_text_back_and_no_secret_in_its_message(server: Any) -> None:
    for _ in range(3):
        server.completes('{"mail": "x EMAIL-X1-1", "id": "S0001"}')
    invalid = await answer(server, request("jane@corp.example", response_schema=SCHEMA))
    server.completes("Ask EMAIL-X1-1", finish="length")
    cut = await answer(server, request("jane@corp.example"))

    assert invalid.error is not None and invalid.error.code == "invalid_answer"
    assert "jane" in invalid.text and "jane" not in invalid.error.message
    assert cut.error is not None and (cut.error.code, cut.text) == ("truncated", "Ask jane@corp.example")


async def test_pieces_are_heard_restored_with_placeholders_split_over_them(server: Any) -> None:
    heard: list[LlmChunk] = []

    async def hear(chunk: LlmChunk) -> None:
        heard.append(chunk)

    server.streams("Ask EM", "AIL-", "X1", "-", "1", " or EMAIL", ".", " Bye EMAIL-X")
    asked = request("jane@corp.example", stream=True)

    done = await answer(server, asked, Means(relay=Relay(hear, "request-1")), target={"capabilities": {"streaming"}})

    assert "jane" not in sent(server)
    assert "".join(chunk.text for chunk in heard) == done.text == "Ask jane@corp.example or EMAIL. Bye EMAIL-X"
    assert len(heard) > 2, "nothing waits for the end but what may be a placeholder"


async def test_what_was_hidden_is_counted_and_never_named(server: Any) -> None:
    server.completes("ok")
    target = Target(name="cloud", base_url=server.url, model="m", timeout=60, local=False)
    router = Router(Settings(targets=(target,)))

    outcome = await router.answer(request("jane@corp.example, joe@corp.example and 10.1.2.3"))
    await router.close()

    assert outcome.redacted == {"email": 2, "ip": 1}


def test_a_quote_with_an_address_is_found_in_the_transcript_again() -> None:
    segment = Segment(id="S0001", text="We mailed jane@corp.example from 10.1.2.3.", start=0.0, end=5.0)
    found = EVERYTHING.hide(request(segment.text))
    quote = found.hide(segment.text).removeprefix("We ").removesuffix(".")
    answered = found.restored(Completion(text=quote)).text
    item = Item(id="I001", kind="fact", text="x", evidence=Evidence(segments=("S0001",), quote=answered))

    [grounded] = ground([item], [segment]).items

    assert quote == "mailed EMAIL-X1-1 from IP-X1-2"
    assert grounded.evidence.quote == "mailed jane@corp.example from 10.1.2.3."


def test_a_hidden_request_without_anything_to_hide_costs_nothing() -> None:
    plain = request("jane@corp.example")

    assert Hidden(plain).request is plain
    assert Hidden(plain).restore("EMAIL-X1-1") == "EMAIL-X1-1"


def test_explain_shows_what_would_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [{"name": "cloud", "base_url": "https://llm.example/v1", "model": "m"}]
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))
    arguments = ["explain", "--redacted"]

    told = CliRunner().invoke(llm, arguments, input="Mail jane@corp.example.")
    machine = json.loads(CliRunner().invoke(llm, [*arguments, "--json"], input="Mail jane@corp.example.").stdout)

    assert "Hidden: 1 of kind email." in told.stdout and "Mail EMAIL-X1-1." in told.stdout
    assert "jane" not in told.output + json.dumps(machine)
    assert machine["redacted"] == {"email": 1}
    assert machine["messages"][0]["content"].endswith("Mail EMAIL-X1-1.")
