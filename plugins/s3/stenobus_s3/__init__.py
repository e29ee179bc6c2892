"""Blobs in S3, or in anything that speaks its protocol (MinIO, Ceph, R2, …)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stenobus_core import BlobStore, CoreSettings

__all__ = ["blob_store"]


def blob_store(settings: CoreSettings) -> BlobStore:
    """The store for ``s3://`` addresses; the entry point that the host calls when the first such address turns up."""
    from .settings import Settings
    from .store import S3Store

    return S3Store(Settings.load("s3"))
