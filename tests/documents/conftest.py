"""The six stages on a real bus, and a language model that answers what a test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from stenobus_bus import Bus, EmbeddedServer, Envelope
from stenobus_contracts import (
    AsrDone,
    BlobRef,
    DeadLetter,
    DocReady,
    ExtractInputs,
    LlmDone,
    LlmError,
    LlmRequest,
    MapInputs,
    Media,
    OutlineInputs,
    Segment,
    TokenUsage,
    Transcript,
    WriteInputs,
)
from stenobus_core import Context, CoreSettings, Host, Plugin, PluginSettings
from stenobus_documents import clean, extract, map, outline, output, write

TIMEOUT = 30.0
STAGES = [clean.plugin, extract.plugin, map.plugin, outline.plugin, write.plugin, output.plugin]

TALK = """1
00:00:01,000 --> 00:00:04,000
Hello everyone, good morning!

2
00:00:05,000 --> 00:00:09,000
The nightly build failed with no space left on device.

3
00:00:10,000 --> 00:00:15,000
We ran df -h and /var was at 100 percent, because the journal had grown to 40 gigabytes.

4
00:00:16,000 --> 00:00:20,000
So run journalctl --vacuum-size=500M and restart the build agent.

5
00:00:21,000 --> 00:00:26,000
To prevent it, set SystemMaxUse=500M in /etc/systemd/journald.conf.
"""

KINDS = {"failed": "symptom", "df -h": "diagnosis", "vacuum": "solution", "prevent": "prevention"}


def honest(request: LlmRequest) -> Any:
    """A well-behaved model: every item is a whole segment, one problem, one section per kind."""
    match request.task:
        case "documents.extract":
            segments = ExtractInputs.model_validate(request.inputs).segments
            return {"items": [item(number, segment) for number, segment in enumerate(segments, start=1)]}
        case "documents.map":
            items = MapInputs.model_validate(request.inputs).items
            ids = {kind: [item.id for item in items if item.kind == kind] for kind in KINDS.values()}
            problems = ids.pop("symptom")
            return {"rows": [{"problem": problem, "debugging": [], **ids} for problem in problems[:1]]}
        case "documents.outline":
            items = OutlineInputs.model_validate(request.inputs).items
            return {
                "title": "A full disk",
                "sections": [
                    {"heading": kind.capitalize(), "items": [item.id for item in items if item.kind == kind]}
                    for kind in KINDS.values()
                ],
            }
        case "documents.write":
            items = WriteInputs.model_validate(request.inputs).items
            return {"markdown": "\n".join(f"- {item.text} [{item.id}]" for item in items)}
    raise AssertionError(request.task)


def item(number: int, segment: Segment) -> dict[str, Any]:
    kind = next((kind for word, kind in KINDS.items() if word in segment.text), "fact")
    evidence = {"segments": [segment.id], "quote": segment.text, "start": None, "speaker": segment.speaker}
    return {"id": f"I{number:03d}", "kind": kind, "text": segment.text, "evidence": evidence}


INVALID = LlmError(code="invalid_answer", message="The model's answer breaks the response_schema.", final=True)
TRUNCATED = LlmError(code="truncated", message="The model stopped at its limit.", final=True)


def broken(answer: Any, request: LlmRequest) -> bool:
    """Whether the answer breaks the schema of the request."""
    own = isinstance(answer, dict) and "done" in answer
    return not own and not jsonschema.Draft202012Validator(request.response_schema or {}).is_valid(answer)


@dataclass
class Model:
    """Answers ``llm.request`` by calling ``answer``, which returns data, text, an error, or an LlmDone's own fields.

    Like the router it never hands on data that breaks the schema, and text is no data.
    """

    answer: Callable[[LlmRequest], Any] = honest
    requests: list[LlmRequest] = field(default_factory=list)

    def asked(self, task: str) -> list[LlmRequest]:
        return [request for request in self.requests if request.task == f"documents.{task}"]

    def done(self, request: LlmRequest, event_id: str) -> LlmDone:
        self.requests.append(request)
        fields: dict[str, Any] = {
            "request_id": event_id,
            "task": request.task,
            "provider": "scripted",
            "model": "script-1",
            "usage": TokenUsage(input=100, output=10),
            "cost_usd": Decimal("0.001"),
            "finish_reason": "stop",
        }
        answer = self.answer(request)
        if isinstance(answer, LlmError):
            fields["error"] = answer
        elif isinstance(answer, str) or broken(answer, request):
            fields |= {"text": str(answer), "error": INVALID}
        elif isinstance(answer, dict) and "done" in answer:
            fields |= answer["done"]
        else:
            fields["data"] = answer
        return LlmDone(**fields)


@dataclass
class Bench:
    """Brings transcripts to the first stage and waits for what comes out at the other end."""

    bus: Bus
    model: Model
    ready: Any
    dead: Any

    async def store(self, data: str | bytes, content_type: str = "text/plain") -> BlobRef:
        return await self.bus.objects.put(data.encode() if isinstance(data, str) else data, content_type)

    async def document(self, talk: str | bytes | BlobRef | Media = TALK, **fields: Any) -> DocReady:
        """The document of a talk."""
        await self._publish(talk, fields)
        return DocReady.model_validate_json((await self.ready.next_msg(TIMEOUT)).data)

    async def failure(self, talk: str | bytes | BlobRef | Media = TALK, **fields: Any) -> DeadLetter:
        """The dead letter of a talk that cannot become a document."""
        await self._publish(talk, fields)
        return DeadLetter.model_validate_json((await self.dead.next_msg(TIMEOUT)).data)

    async def markdown(self, ready: DocReady) -> str:
        return (await self.read(ready.markdown)).decode()

    async def transcript(self, ready: DocReady) -> Transcript:
        return Transcript.model_validate_json(await self.read(ready.transcript))

    async def read(self, ref: BlobRef) -> bytes:
        return b"".join([chunk async for chunk in self.bus.objects.open(ref.uri)])

    async def _publish(self, talk: str | bytes | BlobRef | Media, fields: dict[str, Any]) -> None:
        ref = talk if isinstance(talk, BlobRef | Media) else await self.store(talk)
        event = AsrDone(transcript=ref, **{"media": Media(uri="file:///talks/disk_full-2.mp4"), **fields})
        await self.bus.publish(event, Envelope.new(event, "test"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    server = EmbeddedServer(tmp_path_factory.mktemp("nats"), port=0)
    yield await server.start()
    await server.stop()


StartBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start(url: str, tmp_path: Path) -> AsyncIterator[StartBench]:
    """Start the stages with a model; ``cache`` says whether stage results may be reused from other tests."""
    running: list[tuple[Host, Bus]] = []

    async def stop() -> None:
        while running:
            host, bus = running.pop()
            await host.stop()
            await bus.close()

    async def start(
        answer: Callable[[LlmRequest], Any] = honest, *, cache: bool = False, stages: list[Plugin] = STAGES
    ) -> Bench:
        await stop()
        model = Model(answer)
        llm = Plugin("scripted-llm", summary="Answers what a test wants")

        @llm.handler(concurrency=16)
        async def complete(event: LlmRequest, ctx: Context[PluginSettings, None]) -> LlmDone:
            return model.done(event, ctx.event_id)

        bus = await Bus.connect(url)
        host = Host(CoreSettings(data_dir=tmp_path, cache=cache), bus, [*stages, llm])
        running.append((host, bus))
        await host.start()
        subscriptions = [await bus.nc.subscribe(subject) for subject in ("doc.ready", "dlq.>")]
        return Bench(bus, model, *subscriptions)

    yield start
    await stop()
