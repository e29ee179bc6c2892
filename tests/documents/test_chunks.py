"""Chunks fit whoever is asked: the router's published limits, a ceiling, and scripts that cost more per character."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from stenobus_contracts import ExtractInputs, LlmRequest, Segment
from stenobus_core.tokens import tokens_of
from stenobus_documents.chunks import CEILING, LEAST, line, pack, room

from .conftest import StartBench, honest


def router(*targets: dict[str, Any], longest: int | None = None) -> dict[str, Any]:
    return {"max_prompt_tokens": longest, "targets": list(targets)}


SMALL, LARGE = {"name": "small", "context_window": 8192}, {"name": "large", "context_window": 1_000_000}
SLOW = {"name": "slow", "context_window": 128_000, "tokens_per_minute": 30_000}


@pytest.mark.parametrize(
    ("facts", "target", "expected"),
    [
        ({}, None, CEILING),
        (router(), None, CEILING),
        (router({"name": "x", "context_window": None}), None, CEILING),
        (router(LARGE), None, CEILING),
        (router(SMALL, LARGE), None, 4096),
        (router(SMALL, LARGE), "large", CEILING),
        (router(SMALL, LARGE), "small", 4096),
        (router(SLOW), None, 15_000),
        (router(LARGE, longest=32_768), None, 31_268),
        (router(LARGE, longest=2_000), None, 1_000),
        (router({"name": "x", "context_window": 100}), None, LEAST),
        ({"targets": "nonsense", "max_prompt_tokens": "many"}, None, CEILING),
    ],
)
def test_a_budget_is_never_more_than_the_router_accepts(facts: Any, target: str | None, expected: int) -> None:
    assert room(facts, target) == expected


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("So the first thing to check is whether the service is running at all. Run systemctl status checkout.", 23),
        ("首先要检查服务是否正在运行。在每个节点上运行命令,查看磁盘是否已满,然后重启服务。", 40),
        ("まずサービスが動いているかどうかを確認します。ディスクがいっぱいになっていることがわかりました。", 47),
        ("먼저 서비스가 실행 중인지 확인해야 합니다. 디스크가 가득 찼습니다.", 31),
        ("Сначала нужно проверить, работает ли служба. Диск полностью заполнен.", 25),
    ],
)
def test_an_estimate_is_no_smaller_than_what_a_vocabulary_counts(text: str, counted: int) -> None:
    """``counted`` is what GPT-4's vocabulary gives."""
    assert counted <= tokens_of(text) < counted * 2


def speech(number: int, text: str) -> Segment:
    return Segment(id=f"S{number:04d}", text=text, start=number * 4.0, end=number * 4.0 + 3)


def test_a_chinese_talk_fits_its_budget_like_any_other() -> None:
    segments = [speech(number, "磁盘已满,需要重启服务。" * 5) for number in range(1, 101)]
    chunks = pack(segments, 1000, 2)
    assert max(sum(tokens_of(line(each)) + 1 for each in chunk) for chunk in chunks) <= 1000
    assert len(chunks) >= 6


async def test_360_000_tokens_become_a_document(start: StartBench) -> None:
    """Some 26 hours of talk: cut at the ceiling, asked about in parallel, one document."""

    def brief(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.extract":
            answer["items"] = answer["items"][::500]
        return answer

    words = "the service wrote its log to the disk until nothing was left and everybody waited for the night shift"
    lines = [f"[{n // 900:02d}:{n // 15 % 60:02d}:{n % 15 * 4:02d}] Minute {n}: {words}." for n in range(10_500)]
    bench = await start(brief)
    ready = await bench.document("\n".join(lines))

    chunks = [ExtractInputs.model_validate(request.inputs).segments for request in bench.model.asked("extract")]
    sizes = [sum(tokens_of(line(segment)) for segment in chunk) for chunk in chunks]
    assert sum(sizes) > 360_000 and max(sizes) <= CEILING
    assert ready.chunks_processed == len(chunks) >= 4
    in_order = sorted(chunks, key=lambda chunk: chunk[0].start or 0)
    assert all(earlier[-3:] == later[:3] for earlier, later in pairwise(in_order)), "chunks overlap by three segments"
    assert "statements from" in await bench.markdown(ready)
