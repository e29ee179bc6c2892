"""The Bedrock plugin on a real bus: from kb.sync to kb.synced."""

from __future__ import annotations

import json
from typing import Any

from stenobus_contracts import KbDocument, KbSync, KbSynced
from stenobus_sinks.sinks.bedrock import plugin
from stenobus_testing.stage import Stage

from .fakes.bedrock import FakeBedrock


async def sync(stage: Stage, *, delete: tuple[str, ...] = (), **texts: str) -> KbSync:
    documents = [
        KbDocument(id=name, title=name.title(), content=await stage.put(text.encode(), "text/markdown"))
        for name, text in texts.items()
    ]
    return KbSync(collection="handbook", upsert=tuple(documents), delete=delete)


async def synced(stage: Stage) -> KbSynced:
    outcome = await stage.run_until_idle()
    assert not outcome.letters, outcome.letters[0].letter.message
    (message,) = outcome.of(KbSynced)
    return KbSynced.model_validate_json(message.data)


async def test_documents_go_through_the_bucket_into_the_knowledge_base(
    stage: Stage, bedrock: FakeBedrock, bucket: Any
) -> None:
    await stage.run(plugin)
    await stage.publish(await sync(stage, alpha="The whale.", beta="The giraffe."))
    done = await synced(stage)
    assert (done.sink, done.collection, done.added, done.failed) == ("bedrock", "handbook", 2, 0)
    assert sorted(text for _, text in bedrock.found()) == ["The giraffe.", "The whale."]
    keys = sorted(item.key for item in bucket.objects.filter(Prefix="kb/current/"))
    assert len(keys) == 4 and all(key.startswith("kb/current/handbook/") for key in keys)
    metadata = json.loads(bucket.Object(next(key for key in keys if key.endswith(".json"))).get()["Body"].read())
    assert metadata["metadataAttributes"]["collection"] == "handbook"

    await stage.publish(await sync(stage, alpha="The walrus.", delete=("beta",)))
    done = await synced(stage)
    assert (done.added, done.updated, done.deleted) == (0, 1, 1)
    assert [text for _, text in bedrock.found()] == ["The walrus."]
