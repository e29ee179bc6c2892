"""The conformance kit of Stenobus: the rules every plugin must keep, and what its tests need."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blob_store_contract import BlobStoreContract as BlobStoreContract
    from .blob_store_contract import MovingStoreContract as MovingStoreContract
    from .memory_store import MemoryStore as MemoryStore
    from .rules import Conformance as Conformance
    from .rules import conformance as conformance
    from .run_store_contract import CopiesContract as CopiesContract
    from .run_store_contract import RunStoreContract as RunStoreContract
    from .servers import ContainerNats as ContainerNats
    from .servers import EmbeddedNats as EmbeddedNats
    from .servers import NatsServer as NatsServer
    from .stage import Outcome as Outcome
    from .stage import Stage as Stage
    from .waiting import Gate as Gate
    from .waiting import eventually as eventually
    from .waiting import still as still

#: Public name → module. Imported on first use: every pytest run of this environment imports this package, and so does
#: every host process that a rule starts.
_HOMES = {
    "BlobStoreContract": "blob_store_contract",
    "MovingStoreContract": "blob_store_contract",
    "Conformance": "rules",
    "ContainerNats": "servers",
    "CopiesContract": "run_store_contract",
    "EmbeddedNats": "servers",
    "Gate": "waiting",
    "MemoryStore": "memory_store",
    "NatsServer": "servers",
    "Outcome": "stage",
    "RunStoreContract": "run_store_contract",
    "Stage": "stage",
    "conformance": "rules",
    "eventually": "waiting",
    "still": "waiting",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
