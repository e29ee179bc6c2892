"""``stenobus llm``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from .selection import Candidate


@click.group()
def llm() -> None:
    """Language models: see who would answer a prompt."""


@llm.command()
@click.argument("prompt", type=click.File(encoding="utf-8"), default="-")
@click.option("--task", default="explain", show_default=True, help="What the answer is for.")
@click.option("--target", metavar="NAME", help="Ask for this target.")
@click.option("--max-output-tokens", type=click.IntRange(1), help="Limit of the answer.")
@click.option("--needs", multiple=True, type=click.Choice(["json_schema", "tools", "vision", "streaming"]))
@click.option("--local-only", is_flag=True, help="The prompt must not leave.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def explain(
    prompt: TextIO,
    task: str,
    target: str | None,
    max_output_tokens: int | None,
    needs: tuple[str, ...],
    local_only: bool,
    as_json: bool,
) -> None:
    """Show which target would get PROMPT (a file, or standard input), and why, without sending it.

    It goes by the settings alone: targets that are left alone for now are shown by the facts of llm.request. Exits with
    1 when no target can take it.
    """
    from stenobus_contracts import LlmRequest
    from stenobus_core.errors import SettingsError

    from . import tokens
    from .failures import Failure
    from .selection import candidates
    from .settings import Settings

    request = LlmRequest.model_validate(
        {
            "task": task,
            "messages": [{"role": "user", "content": prompt.read()}],
            "target": target,
            "max_output_tokens": max_output_tokens,
            "needs": needs,
            "local_only": local_only,
        }
    )
    try:
        settings = Settings.load("llm")
        considered = candidates(settings, request)
    except (SettingsError, Failure) as error:
        raise click.ClickException(str(error)) from error
    taken = next((candidate for candidate in considered if candidate.refusal is None), None)
    _print(tokens.estimate(request), settings.strategy, considered, taken, as_json)
    if taken is None:
        raise click.ClickException("No target can take this prompt.")


def _print(size: int, strategy: str, considered: list[Candidate], taken: Candidate | None, as_json: bool) -> None:
    import json

    told = [candidate.told([taken.target] if taken else []) for candidate in considered]
    if as_json:
        found = {"tokens": size, "estimated": True, "strategy": strategy, "target": taken and taken.target.name}
        candidates = [each.model_dump() for each in told]
        click.echo(json.dumps(found | {"candidates": candidates}, ensure_ascii=False, indent=2))
        return
    click.echo(f"About {size} tokens (estimated), strategy {strategy}")
    width = max(len(each.target) for each in told)
    for each in told:
        reason = each.reason.replace("asked: ", "would be asked: ", 1) if each.asked else each.reason
        click.echo(f"{'→' if each.asked else ' '} {each.target:<{width}}  {reason}")
