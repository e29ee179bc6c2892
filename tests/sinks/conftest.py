"""AWS on loopback: a real bucket behind a gate, and a strict knowledge base in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from ..support import aws
from .fakes.bedrock import KNOWLEDGE_BASE, FakeBedrock
from .fakes.gate import S3Gate

BUCKET = "knowledge"


@pytest.fixture(scope="package")
def moto() -> Iterator[str]:
    with aws.endpoint() as url:
        yield url


@pytest.fixture
def account(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Gate]:
    gate = S3Gate(moto)
    aws.enter(monkeypatch, moto, AWS_ENDPOINT_URL_S3=gate.url)
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    yield gate
    gate.close()


@pytest.fixture
def bucket(account: S3Gate, moto: str) -> Any:
    bucket = boto3.resource("s3", region_name=aws.REGION, endpoint_url=moto).Bucket(BUCKET)
    bucket.create()
    bucket.objects.delete()
    return bucket


@pytest.fixture
def bedrock(bucket: Any, moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBedrock]:
    known = aws.environment(moto)
    s3 = boto3.client("s3", region_name=aws.REGION, endpoint_url=moto)
    fake = FakeBedrock(s3, BUCKET, "kb/current/", known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"])
    for name, value in {
        "AWS_ENDPOINT_URL_BEDROCK_AGENT": fake.url,
        "STENOBUS_KB_BEDROCK_KNOWLEDGE_BASE_ID": KNOWLEDGE_BASE,
        "STENOBUS_KB_BEDROCK_BUCKET": BUCKET,
        "STENOBUS_KB_BEDROCK_PREFIX": "kb/",
        "STENOBUS_KB_BEDROCK_POLL": "0.02",
    }.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.close()
    assert fake.complaints == []
