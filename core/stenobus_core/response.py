"""The classic answer to a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from stenobus_contracts import BlobRef, DocReady, LlmRequest

from .runs import Step


def response(
    ready: DocReady,
    *,
    execution_id: str,
    run: str,
    steps: Sequence[Step],
    seconds: float,
    uris: Mapping[str, str],
) -> dict[str, Any]:
    """What a job that went well is answered with.

    Args:
        steps: those of the run, as far as they are known.
        seconds: from the job's beginning to its end.
        uris: where the results are, by kind; those of :func:`documents` are where the document says, when they are
            not among them.
    """
    tokens, cost = ready.tokens_used, ready.cost_usd
    recognition = ready.source.recognition
    saved_tokens, saved_usd = saved(steps)
    return {
        "statusCode": 200,
        "body": {
            "execution_id": execution_id,
            "run": run,
            **{f"{kind}_uri": ref.uri for kind, ref in documents(ready).items()},
            **{f"{kind}_uri": uri for kind, uri in uris.items()},
            "tokens_used": {"input": tokens.input, "output": tokens.output, "total": tokens.total},
            "cost_usd": None if cost is None else float(cost),
            "saved": {"tokens": saved_tokens, "cost_usd": None if saved_usd is None else float(saved_usd)},
            "duration_seconds": round(seconds, 3),
            "chunks_processed": ready.chunks_processed,
            "stages_completed": len(ready.stages),
            "asr": recognition.model_dump(mode="json", exclude_none=True) if recognition else None,
            "method": ready.method,
            "title": ready.title,
            "stages": [stage.model_dump(mode="json", exclude_none=True) for stage in ready.stages],
            "stages_cached": sorted({step.handler for step in steps if step.cached}),
            "warnings": list(ready.warnings),
            "not_carried": [loss.model_dump(mode="json") for loss in ready.not_carried],
        },
    }


def documents(ready: DocReady) -> dict[str, BlobRef]:
    """The finished document by kind: markdown, docx, and html and pdf where they were made."""
    found = {"markdown": ready.markdown, "docx": ready.docx, "html": ready.html, "pdf": ready.pdf}
    return {kind: ref for kind, ref in found.items() if ref is not None}


def saved(steps: Sequence[Step]) -> tuple[int, Decimal | None]:
    """Tokens and US dollars that answers from the cache took when they were asked for; None: a price is not known.

    They are part of what the document took, and no part of what this run spent. Requests to models are counted by the
    stages that ask.
    """
    stages = [step.facts for step in steps if step.subject not in LlmRequest.subjects()]
    facts = [each for each in stages if each.get("saved_tokens")]
    tokens = sum(count for each in facts if isinstance(count := each["saved_tokens"], int))
    amounts = [each.get("saved_usd") for each in facts]
    known = [Decimal(amount) for amount in amounts if isinstance(amount, str)]
    return tokens, sum(known, Decimal(0)) if len(known) == len(amounts) else None
