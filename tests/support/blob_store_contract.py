"""Moved to the conformance kit."""

from stenobus_testing.blob_store_contract import LARGE, BlobStoreContract

__all__ = ["LARGE", "BlobStoreContract"]
