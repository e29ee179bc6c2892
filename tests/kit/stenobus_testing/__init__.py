"""The conformance kit of Stenobus: the rules every plugin must keep, and what its tests need."""

from .blob_store_contract import BlobStoreContract
from .conformance import Conformance, conformance
from .servers import ContainerNats, EmbeddedNats, NatsServer
from .stage import Outcome, Stage
from .waiting import Gate, eventually, still

__all__ = [
    "BlobStoreContract",
    "Conformance",
    "ContainerNats",
    "EmbeddedNats",
    "Gate",
    "NatsServer",
    "Outcome",
    "Stage",
    "conformance",
    "eventually",
    "still",
]
