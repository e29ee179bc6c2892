"""Amazon Bedrock's Converse API, through boto3."""

from .client import Bedrock

__all__ = ["Bedrock"]
