"""``stenobus ask``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from .search_command import clock
from .text import clean

if TYPE_CHECKING:
    from stenobus_contracts import LlmDone, LlmRequest

    from .ask import Answer, Source


@click.command()
@click.argument("words", metavar="QUESTION...", nargs=-1, required=True)
@click.option("--collection", "collections", metavar="NAME", multiple=True, help="From this collection only.")
@click.option(
    "--as", "principals", metavar="NAME", multiple=True, help="Ask as somebody who is this, such as group:support."
)
@click.option("--sources", "most", type=click.IntRange(1, 20), default=8, show_default=True, help="Passages to read.")
@click.option("--target", metavar="NAME", help="The model to ask; the router chooses when absent.")
@click.option("--local-only", is_flag=True, help="The passages must not leave this host.")
@click.option("--timeout", type=click.FloatRange(1), default=300.0, show_default=True, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ask(
    words: tuple[str, ...],
    collections: tuple[str, ...],
    principals: tuple[str, ...],
    most: int,
    target: str | None,
    local_only: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Answer a question from the knowledge base, with the words of the sources that say so.

    A language model reads the best passages; whatever it claims without a true quote is thrown away. Without a model
    the passages themselves are shown. Exits with 1 when nothing answers the question.
    """
    from stenobus_core.errors import SettingsError

    from . import ask as asking
    from .errors import KbError
    from .search import Query, Searcher
    from .settings import Settings

    question = " ".join(words)
    query = Query(question, collections=collections or None, principals=principals or None, limit=most)
    try:
        kb = Settings.load("kb")
        with closing(Searcher(kb.index_path, kb.make_embedder(), kb.ranking)) as searcher:
            given = asking.sources(searcher, query)
    except (KbError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    if not given:
        raise click.ClickException(f'Nothing matches "{question}": try other or fewer words.')
    done = _ask(asking.request(question, given, target=target, local_only=local_only), timeout)
    if done.error is not None and done.error.code == "unsupported":
        _show_passages(question, given, done, as_json=as_json)
        return
    if done.error is not None:
        raise click.ClickException(done.error.message)
    try:
        answer = asking.read(done, given)
    except ValueError as error:
        raise click.ClickException(f"{done.provider} answered in another shape than it was asked for.") from error
    _show(question, answer, done, as_json=as_json)
    if not answer.statements:
        raise click.ClickException("The passages that were found do not say it.")


def _ask(request: LlmRequest, timeout: float) -> LlmDone:
    from stenobus_bus import Envelope, answers
    from stenobus_contracts import LlmDone
    from stenobus_core.cli.running import answering, run, services, settings

    async def ask() -> LlmDone:
        async with services(settings("error")) as (session, _), answering(session, type(request)):
            envelope = Envelope.new(request, "stenobus/kb")
            done = await answers.request(session.bus, request, lambda _: envelope, timeout)
            assert isinstance(done, LlmDone)
            return done

    return run(ask())


def _show(question: str, answer: Answer, done: LlmDone, *, as_json: bool) -> None:
    used = list({statement.source.number: statement.source for statement in answer.statements}.values())
    if as_json:
        statements = [
            {"text": each.text, "source": each.source.number, "quote": each.quote} for each in answer.statements
        ]
        _print(question, "model", used, done, statements=statements, ungrounded=answer.ungrounded)
        return
    for statement in answer.statements:
        click.echo(f"{statement.text} [{statement.source.number}]\n    “{statement.quote}”")
    if used:
        click.echo()
    for source in used:
        click.echo(f"[{source.number}] {_place(source)}")
    cost = "unknown cost" if done.cost_usd is None else f"${done.cost_usd:f}"
    thrown = f" · {answer.ungrounded} without a true quote thrown away" if answer.ungrounded else ""
    click.echo(f"{done.provider} · {done.model} · {done.usage.total} tokens · {cost}{thrown}", err=True)


def _show_passages(question: str, given: Sequence[Source], done: LlmDone, *, as_json: bool) -> None:
    assert done.error is not None
    if as_json:
        _print(question, "passages", given, done, statements=[], ungrounded=0)
        return
    for source in given:
        click.echo(f"[{source.number}] {_place(source)}\n{source.text}\n")
    click.echo(f"No model answers here ({done.error.message}) These passages are the nearest.", err=True)


def _print(question: str, method: str, given: Sequence[Source], done: LlmDone, **found: Any) -> None:
    import json
    from dataclasses import asdict

    document = {
        "question": question,
        "method": method,
        **found,
        "sources": [
            {"number": source.number, **asdict(source.hit), "text": source.text, "link": source.hit.link}
            for source in given
        ],
        "provider": done.provider,
        "model": done.model,
        "usage": done.usage.model_dump(),
        "cost_usd": None if done.cost_usd is None else f"{done.cost_usd:f}",
    }
    click.echo(json.dumps(document, ensure_ascii=False, indent=2, default=list))


def _place(source: Source) -> str:
    hit = source.hit
    heading = f" › {hit.heading}" if hit.heading else ""
    moment = f"  {clock(hit.start)}" if hit.start is not None else ""
    return clean(f"{hit.title}{heading}{moment}") + (f"\n    {clean(hit.link)}" if hit.link else "")
