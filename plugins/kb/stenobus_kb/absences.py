"""Who is missing from what a source says it holds, and since which listing."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from .index import Index


@dataclass(frozen=True, slots=True)
class Absent:
    """Documents of a source beside its listing."""

    #: Documents of the source in the index.
    live: int
    #: Ids that this listing is the first to miss.
    newly: tuple[str, ...] = ()
    #: Ids that an earlier listing had missed as well.
    again: tuple[str, ...] = ()
    #: The listing is older than a sync that has been carried out since: it says nothing about today.
    outdated: bool = False


def compare(index: Index, event: str, collection: str, source: str, present: Set[str], stored: int) -> Absent:
    """Note who is missing. The same event again notes nothing new.

    Absences are counted by listings, which have integers: a clock that is wrong cannot make two of one.

    Args:
        index: the index.
        event: id of the event that brought the listing.
        collection: where the documents are.
        source: where they come from; others are not compared.
        present: every id the source holds.
        stored: when the server stored the event, as :attr:`Order.stored`.

    Raises:
        IndexUnusable: as the index does.
    """
    with index.writing() as connection:
        rows = connection.execute(
            "SELECT name FROM documents WHERE live AND collection = ? AND source = ?", (collection, source)
        )
        live = {str(name) for (name,) in rows}
        heard: int | None = connection.execute(
            "SELECT stored FROM heard WHERE collection = ? AND source = ?", (collection, source)
        ).get
        if heard is not None and stored < heard:
            return Absent(len(live), outdated=True)
        noted = {
            str(name): listing
            for name, listing in connection.execute(
                "SELECT name, listing FROM absences WHERE collection = ?", (collection,)
            )
        }
        absent = sorted(live - present)
        back = [name for name in noted if name in live and name in present]
        if not absent and not back:
            return Absent(len(live))  # an unchanged run writes nothing
        connection.execute(
            "INSERT OR IGNORE INTO listings(event, collection, source) VALUES (?, ?, ?)", (event, collection, source)
        )
        number: int = connection.execute("SELECT id FROM listings WHERE event = ?", (event,)).get
        connection.executemany(
            "DELETE FROM absences WHERE collection = ? AND name = ?", ((collection, n) for n in back)
        )
        connection.executemany(
            "INSERT OR IGNORE INTO absences(collection, name, listing) VALUES (?, ?, ?)",
            ((collection, name, number) for name in absent),
        )
        again = tuple(name for name in absent if int(noted.get(name, number)) < number)
        return Absent(len(live), tuple(sorted(set(absent) - set(again))), again)
