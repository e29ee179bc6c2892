"""The LLM router beside the bare openai SDK and LiteLLM's Router, on one fake server, in one run.

    python bench/llm.py [--calls 500] [--rounds 5] [ROW …]

Rows: decision, call, load, stream, bus; all of them by default. LiteLLM is measured when ``bench/peers/setup.sh`` has
installed it into ``.venv-litellm``. Every figure is a median over the rounds; the contenders take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen, run

import openai
import structlog

from stenobus_bus import Bus, EmbeddedServer, Envelope, answers
from stenobus_contracts import LlmChunk, LlmRequest
from stenobus_core import CoreSettings, Host
from stenobus_core.bench import quantile
from stenobus_llm.relay import Relay
from stenobus_llm.router import Means, Router
from stenobus_llm.selection import candidates
from stenobus_llm.settings import Settings, Target

HERE = Path(__file__).parent
LITELLM = HERE.parent / ".venv-litellm" / "bin" / "python"
ROWS = ("decision", "call", "load", "stream", "bus")
AT_ONCE = 32
PIECES = 200
TEXT = "Why? " * 100
Call = Callable[[], Awaitable[None]]


@contextmanager
def fake_server() -> Iterator[str]:
    """The fake server in a process of its own."""
    with Popen([sys.executable, HERE / "peers" / "chat_server.py", str(PIECES)], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().decode().strip()
        process.stdin.close()


def request(text: str = TEXT, **fields: object) -> LlmRequest:
    return LlmRequest.model_validate({"task": "bench", "messages": [{"role": "user", "content": text}], **fields})


def settings(url: str) -> Settings:
    """The classic set-up, with all its targets on the fake server."""
    targets = (
        Target(name="int4", base_url=url, model="fake", below_tokens=2000, context_window=8192, quality=3),
        Target(name="fp16", base_url=url, model="fake", below_tokens=8000, context_window=16384, quality=2),
        Target(name="openai", base_url=url, model="fake", from_tokens=8000, context_window=128000, quality=1),
        Target(name="document", base_url=url, model="fake", tasks=("documents.*",), quality=4),
    )
    return Settings(targets=targets, max_prompt_tokens=40_000)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.3f} ms"


def decision(url: str, rounds: int) -> None:
    """Count the tokens, apply bands, limits and capabilities, order what is left."""
    print("\ndecision: from a request to the list of candidates")
    found = settings(url)
    for tokens in (1_000, 8_000, 32_000):
        schema = LlmRequest.model_json_schema()
        asked = request("word " * int(tokens * 3.5 / 5), response_schema=schema)
        took = []
        for _ in range(400 * rounds):
            begun = time.perf_counter()
            candidates(found, asked)
            took.append(time.perf_counter() - begun)
        print(f"  {tokens:>6,} tokens and a schema: p50 {ms(statistics.median(took))}, p99 {ms(quantile(took, 0.99))}")


async def one_by_one(call: Call, calls: int) -> float:
    """Median seconds of a call."""
    took = []
    for _ in range(calls):
        begun = time.perf_counter()
        await call()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


async def at_once(call: Call, calls: int) -> float:
    """Calls per second, with so many under way."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return calls / (time.perf_counter() - begun)


async def ours_and_sdk(url: str, rows: list[str], calls: int, rounds: int) -> dict[str, dict[str, float]]:
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    router = Router(settings(url))
    messages = [{"role": "user", "content": TEXT}]
    asked, streamed = request(), request(stream=True)

    async def sdk() -> None:
        await client.chat.completions.create(model="fake", messages=messages, temperature=0)  # type: ignore[arg-type]

    async def ours() -> None:
        outcome = await router.answer(asked)
        assert outcome.result.text == "fine", outcome.result

    async def sdk_stream() -> None:
        stream = await client.chat.completions.create(
            model="fake",
            messages=messages,  # type: ignore[arg-type]
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        assert sum([1 async for _ in stream]) > PIECES

    async def ours_stream() -> None:
        heard = 0

        async def send(chunk: LlmChunk) -> None:
            nonlocal heard
            heard += len(chunk.model_dump_json(exclude_none=True)) > 0

        await router.answer(streamed, Means(relay=Relay(send, "bench")))
        assert heard > 0

    figures: dict[str, dict[str, list[float]]] = {name: {} for name in ("openai SDK", "Stenobus")}
    contenders = {"openai SDK": (sdk, sdk_stream), "Stenobus": (ours, ours_stream)}
    for call, stream in contenders.values():
        await one_by_one(call, 20)
        if "stream" in rows:
            await one_by_one(stream, 2)
    for _ in range(rounds):
        for name, (call, stream) in contenders.items():
            if "call" in rows:
                figures[name].setdefault("p50", []).append(await one_by_one(call, calls))
            if "load" in rows:
                figures[name].setdefault("rate", []).append(await at_once(call, 4 * calls))
            if "stream" in rows:
                figures[name].setdefault("piece", []).append(await one_by_one(stream, 20) / PIECES)
    await client.close()
    await router.close()
    return {name: {what: statistics.median(each) for what, each in found.items()} for name, found in figures.items()}


def litellm(url: str, calls: int, rounds: int) -> dict[str, float]:
    command = [LITELLM, HERE / "peers" / "litellm_router.py", url, str(calls), str(AT_ONCE), str(PIECES)]
    found = [
        json.loads(run(command, stdout=PIPE, timeout=600, check=True).stdout.splitlines()[-1]) for _ in range(rounds)
    ]
    return {what: statistics.median(each[what] for each in found) for what in found[0]}


async def hop(url: str, calls: int) -> None:
    """From the publish of a request to its durable answer, run record and ledger included."""
    from stenobus_llm import plugin

    print("\nbus: from the publish of llm.request to the durable llm.done, one after the other, on the embedded server")
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "nats", port=0)
        core = CoreSettings(data_dir=Path(folder))
        async with await Bus.connect(await server.start()) as bus:
            host = Host(core, bus, [plugin])
            await host.start()

            async def ask() -> None:
                asked = request(cache=False)
                envelope = Envelope.new(asked, "stenobus/bench")
                await answers.request(bus, asked, lambda _: envelope, 60)

            await one_by_one(ask, 20)
            print(
                f"  p50 {ms(await one_by_one(ask, calls))}; {await at_once(ask, 4 * calls):,.0f}/s at {AT_ONCE} at once"
            )
            await host.stop()
        await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("rows", nargs="*", metavar="ROW", default=list(ROWS))
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"there is no row {unknown.pop()}; rows are {', '.join(ROWS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with fake_server() as url:
        if "decision" in given.rows:
            decision(url, given.rounds)
        if {"call", "load", "stream"} & set(given.rows):
            figures = asyncio.run(ours_and_sdk(url, given.rows, given.calls, given.rounds))
            if LITELLM.exists():
                figures["LiteLLM Router"] = litellm(url, given.calls, given.rounds)
            report(figures, given.rows)
        if "bus" in given.rows:
            target = {"name": "model", "base_url": url, "model": "fake"}
            os.environ["STENOBUS_LLM_TARGETS"] = json.dumps([target])
            asyncio.run(hop(url, given.calls))


def report(figures: dict[str, dict[str, float]], rows: list[str]) -> None:
    base = figures["openai SDK"]
    for row, what, title in (
        ("call", "p50", "call: median of one after the other, and what is added to the bare SDK"),
        ("load", "rate", f"load: requests per second, {AT_ONCE} at once"),
        ("stream", "piece", f"stream: time per piece of {PIECES}, from the request to the last one"),
    ):
        if row not in rows:
            continue
        print(f"\n{title}")
        for name, found in figures.items():
            value = found[what]
            if what == "rate":
                print(f"  {name:<16}{value:>8,.0f}/s   {value / base[what]:.2f} of the SDK")
            else:
                print(f"  {name:<16}{ms(value):>12}   {ms(value - base[what]):>10} more than the SDK")


if __name__ == "__main__":
    main()
