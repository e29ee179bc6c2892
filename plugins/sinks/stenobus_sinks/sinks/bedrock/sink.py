"""The sink: files first, then a job or calls that bring them in, and what was brought in is written down last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stenobus_core import PermanentError

from ...aws import client, explained
from ...port import Change, Document, Mark, Outcome, Progress
from ...together import together
from .agent import prepare
from .direct import Direct
from .files import Files, Superseded
from .jobs import MISSING, Jobs, judged
from .records import Record, Value
from .settings import Settings

#: Files that are written at once.
_HANDS: Final = 8
#: Removals that a collection remembers, so that an event that comes late does not bring a document back.
_REMOVALS: Final = 50_000


class Bedrock:
    """A knowledge base with a data source that reads ``current/`` of a prefix.

    ::

        s3://BUCKET/PREFIX/current/COLLECTION/….md                 a file per document, named by its id's hash
        s3://BUCKET/PREFIX/current/COLLECTION/….md.metadata.json   what filters may use
        s3://BUCKET/PREFIX/state/DATASOURCE/collections/….json     what is in, by id: digest and order
        s3://BUCKET/PREFIX/state/DATASOURCE/jobs.json              see :mod:`.jobs`
    """

    name = "bedrock"
    version = "1"

    def __init__(self, settings: Settings) -> None:
        if settings.bucket is None:
            raise PermanentError(
                "A Bedrock knowledge base gets its documents through a bucket: set STENOBUS_KB_BEDROCK_BUCKET to "
                "the one that its data source reads."
            )
        assert settings.knowledge_base_id is not None
        self._settings, self._bucket = settings, settings.bucket
        self._knowledge_base = settings.knowledge_base_id
        with explained(f"Knowledge base {self._knowledge_base}"):
            self._s3 = client("s3", settings.connect_timeout, settings.read_timeout, attempts=settings.attempts)
            # Conflicts and quotas are waited for here, not by botocore.
            self._agents = client("bedrock-agent", settings.connect_timeout, settings.read_timeout, attempts=1)
        self._folder = f"{settings.prefix}current/"
        self._files = Files(self._s3, settings.bucket, self._folder)
        self._data_source = settings.data_source_id

    async def known(self, collection: str, ids: Sequence[str]) -> Mapping[str, Mark]:
        """What was brought in, from the collection's record."""
        documents = (await (await self._record(collection)).read()).get("documents", {})
        return {name: Mark(*documents[name]) for name in ids if name in documents}

    async def apply(self, change: Change, progress: Progress) -> Outcome:
        """Write files, bring them in, write down what is in."""
        outcome = Outcome()
        data_source = await self._found_data_source()
        written = await self._write(change, outcome, progress)
        left_out = outcome.problems.keys() | outcome.superseded
        upsert = {
            document.id: self._files.uri(change.collection, document.id)
            for document in change.upsert
            if document.id not in left_out
        }
        delete = {name: self._files.uri(change.collection, name) for name in change.delete if name not in left_out}
        if upsert or delete:
            problems = await self._bring_in(data_source, upsert, delete, change, written, progress)
            outcome.problems.update(problems)
            if self._settings.agent_id is not None:
                await progress(0.95, f"preparing agent {self._settings.agent_id}")
                await prepare(
                    self._agents,
                    self._settings.agent_id,
                    poll=self._settings.poll,
                    patience=self._settings.patience,
                )
        record = await self._record(change.collection)
        await record.change(lambda record: _remember(record, change, outcome))
        return outcome

    async def size(self, collection: str) -> int:
        """Bedrock does not tell."""
        return 0

    async def close(self) -> None:
        """Release the connections."""
        for opened in (self._s3, self._agents):
            await asyncio.to_thread(opened.close)

    async def _write(self, change: Change, outcome: Outcome, progress: Progress) -> bool:
        """Write and remove files; whether any was."""
        total, done = len(change.upsert) + len(change.delete), 0

        async def one(document: Document | str) -> bool:
            nonlocal done
            id = document if isinstance(document, str) else document.id
            try:
                if isinstance(document, str):
                    return await self._files.remove(change.collection, id, change.order)
                return await self._files.put(change.collection, document, change.order)
            except Superseded:
                outcome.superseded.add(id)
            except PermanentError as error:  # the other documents are not to blame
                outcome.problems[id] = str(error)
            finally:
                done += 1
                await progress(0.5 * done / total, f"writing {id}")
            return False

        wanted: list[Document | str] = [*change.upsert, *change.delete]
        return any(await together(_HANDS, one, wanted))

    async def _bring_in(
        self,
        data_source: str,
        upsert: Mapping[str, str],
        delete: Mapping[str, str],
        change: Change,
        written: bool,
        progress: Progress,
    ) -> dict[str, str]:
        """Let the knowledge base take files in and out: what is wrong with single documents, by id."""
        what = f"Knowledge base {self._knowledge_base}"
        patience = {"poll": self._settings.poll, "patience": self._settings.patience}
        direct = Direct(self._agents, self._knowledge_base, data_source, **patience)
        ids = {uri: id for id, uri in (*upsert.items(), *delete.items())}
        if self._settings.ingestion == "direct":
            wrong = await direct.ingest(list(upsert.values()), change.token, progress)
            wrong |= await direct.remove(list(delete.values()), change.token, progress)
        else:
            record = await self._record("jobs", folder="")
            jobs = Jobs(self._agents, record, self._knowledge_base, data_source, **patience)
            job = await jobs.cover(change.token, anew=written, progress=progress)
            judged(job, what, f"s3://{self._bucket}/{self._folder}")
            wrong = await direct.problems(list(upsert.values())) if job.failed else {}
        return {ids[uri]: f"{ids[uri]}: {problem}." for uri, problem in wrong.items()}

    async def _found_data_source(self) -> str:
        """The data source: the one that is named, or the only one."""
        if self._data_source is None:
            self._data_source = await asyncio.to_thread(only_data_source, self._agents, self._knowledge_base)
        return self._data_source

    async def _record(self, name: str, folder: str = "collections/") -> Record:
        """What is remembered of this data source: another one over the same files knows nothing yet."""
        place = f"{self._settings.prefix}state/{await self._found_data_source()}"
        return Record(self._s3, self._bucket, f"{place}/{folder}{name}.json")


def only_data_source(agents: Any, knowledge_base: str) -> str:
    """Id of a knowledge base's only data source.

    Raises:
        PermanentError: there is none, or a choice.
    """
    what = f"Knowledge base {knowledge_base}"
    with explained(what, MISSING, "bedrock:ListDataSources"):
        found = agents.list_data_sources(knowledgeBaseId=knowledge_base)["dataSourceSummaries"]
    if not found:
        raise PermanentError(
            f"{what} has no data source: create one for the bucket's folder current/, or correct "
            "STENOBUS_KB_BEDROCK_KNOWLEDGE_BASE_ID."
        )
    if len(found) > 1:
        some = ", ".join(f"{source['dataSourceId']} ({source['name']})" for source in found)
        raise PermanentError(
            f"{what} has several data sources: name one by STENOBUS_KB_BEDROCK_DATA_SOURCE_ID: {some}."
        )
    return str(found[0]["dataSourceId"])


def _remember(record: Value, change: Change, outcome: Outcome) -> None:
    """Note what is in now. What went wrong is not noted, and so tried again by whoever brings it next."""
    documents = record.setdefault("documents", {})
    digests: dict[str, str | None] = {document.id: document.digest for document in change.upsert}
    digests |= dict.fromkeys(change.delete)
    for id, digest in digests.items():
        if id in outcome.problems or id in outcome.superseded:
            continue
        if id not in documents or documents[id][1] <= change.order:
            documents[id] = [digest, change.order]
    removals = sorted((order, id) for id, (digest, order) in documents.items() if digest is None)
    for _, id in removals[:-_REMOVALS]:
        del documents[id]
