"""Two nights of a folder in which nothing has changed: what they write, embed and order. It ought to be nothing.

    python bench/kb_nightly.py                 # 2,000 documents
    python bench/kb_nightly.py --documents 200

The plugins ``sources`` and ``kb`` run on a server of their own. The first night brings everything in.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import apsw
import structlog

from stenobus_bus import Bus, EmbeddedServer, Envelope
from stenobus_core import CoreSettings, Host
from stenobus_kb import plugin as kb
from stenobus_kb.embedders import Role
from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.index import Index
from stenobus_sources import plugin as sources
from stenobus_sources.events import SourceDue

#: What tells the indexes to do something, and what they say when they have.
JOBS = ("kb.sync", "kb.synced")


class Embeddings:
    """Counts the texts that are embedded."""

    def __init__(self) -> None:
        self.count = 0
        embed = HashedEmbedder.embed

        def counted(embedder: HashedEmbedder, texts: Sequence[str], role: Role = "passage") -> Any:
            self.count += len(texts)
            return embed(embedder, texts, role)

        HashedEmbedder.embed = counted


async def main(documents: int, folder: Path) -> None:
    """Three nights, and a line for each."""
    os.environ |= settings(folder)
    embeddings = Embeddings()
    notes = folder / "notes"
    notes.mkdir()
    for number in range(documents):
        (notes / f"n{number}.md").write_text(f"# Note {number}\n\nWhat the shift found in case {number}.\n")
    Index(folder / "kb.sqlite").close()
    async with AsyncExitStack() as stack:
        server = EmbeddedServer(folder / "nats", port=0)
        stack.push_async_callback(server.stop)
        bus = await stack.enter_async_context(await Bus.connect(await server.start()))
        host = Host(CoreSettings(data_dir=folder), bus, [sources, kb])
        stack.push_async_callback(host.stop)
        await host.start()
        heard = Counter[str]()
        over = asyncio.Event()

        async def hear(message: Any) -> None:
            heard[message.subject] += 1
            if message.subject == "source.done":
                over.set()

        for subject in (*JOBS, "source.done", "dlq.>"):
            await bus.nc.subscribe(subject, cb=hear)
        with closing(apsw.Connection(str(folder / "kb.sqlite"))) as connection:
            for night in ("first", "second", "third"):
                version, texts = connection.pragma("data_version"), embeddings.count
                heard.clear()
                over.clear()
                began = time.perf_counter()
                event = SourceDue(reads="full")
                await bus.publish(event, Envelope.new(event, "bench"))
                await asyncio.wait_for(over.wait(), 3600)
                commits = "no" if connection.pragma("data_version") == version else "some"
                jobs = sum(heard[subject] for subject in JOBS)
                print(
                    f"{night:<8} night {time.perf_counter() - began:6.1f} s   {commits} writes to the index   "
                    f"{embeddings.count - texts} embeddings   {jobs} orders and answers   "
                    f"{sum(heard.values()) - jobs - heard['source.done']} dead letters"
                )


def settings(folder: Path) -> dict[str, str]:
    """As they stand in the environment."""
    files = f'[{{"name": "notes", "place": "{folder}/notes", "collection": "notes"}}]'
    return {
        "STENOBUS_DATA_DIR": str(folder),
        "STENOBUS_KB_PATH": str(folder / "kb.sqlite"),
        "STENOBUS_KB_EMBEDDER": "hashed",
        "STENOBUS_SOURCES_OUTPUT": str(folder / "out"),
        "STENOBUS_SOURCES_FILES": files,
    }


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--documents", type=int, default=2_000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(options.parse_args().documents, Path(place)))
