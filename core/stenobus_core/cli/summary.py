"""What a finished job tells its user."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from rich.console import Console
from rich.table import Table

from ..follow import Outcome

_KINDS: Final = (
    ("Markdown", "markdown"),
    ("DOCX", "docx"),
    ("HTML", "html"),
    ("PDF", "pdf"),
    ("Transcript", "transcript"),
    ("Quality", "quality"),
)


def summary(outcome: Outcome, uris: Mapping[str, str], record: Path | None) -> None:
    """Print stages, costs and where everything is."""
    console = Console(highlight=False, markup=False)
    console.print(_stages(outcome))
    ready = outcome.ready
    if (heard := ready.source.recognition) is not None:
        console.print(f"Heard by   {heard.engine}{f' ({heard.model})' if heard.model else ''}", soft_wrap=True)
        if heard.reason:
            console.print(f"           {heard.reason}", soft_wrap=True)
    cached = [step.handler for step in outcome.document_steps if step.cached]
    if cached:
        count = "1 stage was" if len(cached) == 1 else f"{len(cached)} stages were"
        console.print(f"Cache      {count} answered from the cache: {', '.join(cached)}", soft_wrap=True)
    tokens, cost = ready.tokens_used, ready.cost_usd
    console.print(f"Method     {ready.method}, {tokens.total} tokens, {_money(cost)}")
    saved_tokens, saved_usd = outcome.saved
    if saved_tokens:
        console.print(f"Saved      {saved_tokens} of these tokens, {_money(saved_usd)}: answered from the cache")
    for warning in ready.warnings:
        console.print(f"Warning    {warning}", soft_wrap=True)
    for label, kind in _KINDS:
        if kind in uris:
            console.print(f"{label:<10} {_place(uris[kind])}", soft_wrap=True)
    if record is not None:
        console.print(f"Result     {record}", soft_wrap=True)
    console.print(
        f"Run        {outcome.run} ({outcome.seconds:.1f} s); look closer with `stenobus trace {outcome.run}`",
        soft_wrap=True,
    )


def _stages(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for name, justify in (
        ("Stage", "left"),
        ("Seconds", "right"),
        ("Method", "left"),
        ("Tokens", "right"),
        ("Cost", "right"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left")
    usage = {f"documents-{stage.stage}": stage for stage in outcome.ready.stages}
    for step in outcome.document_steps:
        stage = usage.get(step.handler)
        seconds = "" if step.seconds is None else f"{step.seconds:.2f}"
        table.add_row(
            step.handler,
            f"{seconds}{' (cache)' if step.cached else ''}",
            stage.method if stage else "local",
            str(stage.tokens.total) if stage else "",
            _money(stage.cost_usd) if stage else "",
        )
    return table


def _money(cost: Decimal | None) -> str:
    return "cost unknown" if cost is None else f"${cost:.4f}"


def _place(uri: str) -> str:
    """Where something is, as people would type it: a file by its path, from the working folder if it is in there."""
    if not uri.startswith("file://"):
        return uri
    path, here = Path(unquote(uri.removeprefix("file://"))), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
