"""``stenobus llm``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from .redaction import Hidden
    from .selection import Candidate
    from .usage import By

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def llm() -> None:
    """Language models: ask one, see who would answer a prompt, and what was spent."""


def asking(command: F) -> F:
    """The arguments and options that say what is asked."""
    for option in reversed(
        [
            click.argument("prompt", type=click.File(encoding="utf-8"), default="-"),
            click.option("--target", metavar="NAME", help="Ask for this target."),
            click.option("--max-output-tokens", type=click.IntRange(1), help="Limit of the answer."),
            click.option("--needs", multiple=True, type=click.Choice(["json_schema", "tools", "vision", "streaming"])),
            click.option("--local-only", is_flag=True, help="The prompt must not leave."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        ]
    ):
        command = option(command)
    return command


@llm.command()
@asking
@click.option("--task", default="ask", show_default=True, help="What the answer is for; accounting goes by it.")
@click.option("--system", metavar="TEXT", help="What the model is told before the prompt.")
@click.option(
    "--image", "images", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Show this."
)
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON Schema that the answer must be valid against.",
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option(
    "--cache/--no-cache", default=None, help="Whether an earlier answer will do; by default at temperature 0 only."
)
@click.option(
    "--timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds to wait for the answer."
)
def ask(
    prompt: TextIO,
    system: str | None,
    images: tuple[Path, ...],
    schema: Path | None,
    timeout: float,
    as_json: bool,
    **fields: Any,
) -> None:
    """Send PROMPT (a file, or standard input) and print the answer as it is written.

    The embedded server's requests are answered by this process, those of STENOBUS_NATS_URL by the plugin llm there.
    Exits with 1 when there is no answer, and says why.
    """
    from . import ask as asked

    request = asked.request(
        messages=[
            *([{"role": "system", "content": system}] if system else []),
            {"role": "user", "content": prompt.read()},
        ],
        response_schema=asked.schema(schema) if schema else None,
        stream=not as_json,
        priority="interactive",
        **fields,
    )
    asked.ask(request, images, timeout, as_json=as_json)


@llm.command()
@asking
@click.option("--task", default="explain", show_default=True, help="What the answer is for.")
@click.option(
    "--count",
    is_flag=True,
    help="Where the estimate comes near its window, let a target that can count the prompt: it is sent there.",
)
@click.option("--redacted", is_flag=True, help="Show what would be sent, too: what is hidden has a word in its place.")
def explain(prompt: TextIO, count: bool, redacted: bool, as_json: bool, **fields: Any) -> None:
    """Show which target would get PROMPT (a file, or standard input), and why, without sending it.

    It goes by the settings alone: targets that are left alone for now are shown by the facts of llm.request. Exits with
    1 when no target can take it.
    """
    import asyncio

    from stenobus_core.errors import SettingsError

    from . import ask as asked
    from . import tokens
    from .counting import counts_once
    from .failures import Failure
    from .redaction import hide
    from .selection import candidates, uncertain
    from .settings import Settings

    request = asked.request(messages=[{"role": "user", "content": prompt.read()}], **fields)
    try:
        settings = Settings.load("llm")
        counted = asyncio.run(counts_once(uncertain(settings, request), request)) if count else {}
        considered = candidates(settings, request, counted=counted)
        taken = next((candidate for candidate in considered if candidate.refusal is None), None)
        hidden = hide(request, taken.target, settings) if taken and redacted else None
    except (SettingsError, Failure) as error:
        raise click.ClickException(str(error)) from error
    _print(tokens.estimate(request), counted, settings.strategy, considered, taken, hidden, as_json)
    if taken is None:
        raise click.ClickException("No target can take this prompt.")


def _print(
    size: int,
    counted: Mapping[str, int],
    strategy: str,
    considered: list[Candidate],
    taken: Candidate | None,
    hidden: Hidden | None,
    as_json: bool,
) -> None:
    import json

    told = [candidate.told([taken.target] if taken else []) for candidate in considered]
    if as_json:
        found: dict[str, Any] = {
            "tokens": size,
            "estimated": True,
            **({"counted": counted} if counted else {}),
            "strategy": strategy,
            "target": taken and taken.target.name,
        }
        found["candidates"] = [each.model_dump() for each in told]
        if hidden:
            found["redacted"] = hidden.counts
            found["messages"] = [message.model_dump(exclude_defaults=True) for message in hidden.request.messages]
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    click.echo(f"About {size} tokens (estimated), strategy {strategy}")
    for name, count in counted.items():
        click.echo(f"{name} counts {count} tokens")
    width = max(len(each.target) for each in told)
    for each in told:
        reason = each.reason.replace("asked: ", "would be asked: ", 1) if each.asked else each.reason
        click.echo(f"{'→' if each.asked else ' '} {each.target:<{width}}  {reason}")
    if hidden:
        kinds = ", ".join(f"{count} of kind {kind}" for kind, count in hidden.counts.items()) or "nothing"
        click.echo(f"\nHidden: {kinds}. This would be sent:")
        for message in hidden.request.messages:
            click.echo(f"\n[{message.role}]\n{message.content}")


def _since(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    from stenobus_core.cli.times import ago

    return ago(text) if text else None


@llm.command()
@click.option("--by", type=click.Choice(["run", "task", "target", "day", "caller"]), default="day", show_default=True)
@click.option(
    "--since", metavar="TIME", callback=_since, help="Begun since: 90s, 15m, 2h, 7d ago, or an ISO 8601 time."
)
@click.option("--run", "run_id", metavar="RUN", help="Of this run alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def usage(by: By, since: datetime | None, run_id: str | None, as_json: bool) -> None:
    """Show tokens and cost from the run record, which remembers 30 days.

    Every attempt counts, failed ones and repairs too. A price that is not known is shown as unknown, never as 0;
    ~ marks tokens that a provider did not report.
    """
    from .usage import usage as show

    show(by, since, run_id, as_json)
