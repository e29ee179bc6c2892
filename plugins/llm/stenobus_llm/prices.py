"""What tokens cost: what a target states itself, a file of yours, or a small dated table that comes with the plugin."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from stenobus_contracts import TokenUsage

if TYPE_CHECKING:
    from .settings import Target

#: Version of prices that the target states itself.
STATED: Final = "settings"

_MILLION: Final = Decimal(1_000_000)
_OPENAI: Final = "api.openai.com"
#: A snapshot of an OpenAI model costs what the model costs.
_SNAPSHOT: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
#: Regions of Bedrock's inference profiles that cost what the plain model costs.
_REGION: Final = re.compile(r"^(us|eu|jp|au|apac)\.")
#: Tariffs of an OpenAI request that the table knows.
_STANDARD: Final = (None, "default", "auto")
#: Bytes of a price file.
_LARGEST: Final = 1024 * 1024


class Price(BaseModel):
    """US dollars per million tokens of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    cached: Decimal | None = Field(
        default=None, ge=0, description="of the prompt, what the provider had read before; as input when absent"
    )
    up_to: int | None = Field(
        default=None, ge=1, description="prompts of more tokens have another price, not known here"
    )

    def cost(self, usage: TokenUsage) -> Decimal | None:
        """US dollars for these tokens; None when the prompt is longer than the price is known for."""
        if self.up_to is not None and usage.input > self.up_to:
            return None
        cached = min(usage.cached, usage.input)
        read = cached * (self.input if self.cached is None else self.cached)
        return ((usage.input - cached) * self.input + read + usage.output * self.output) / _MILLION


class Table(BaseModel):
    """Prices as of one day, by what the provider calls its models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = Field(min_length=1, max_length=64, description="the day of the figures, or another name for them")
    openai: Mapping[str, Price] = Field(default={}, description="at api.openai.com")
    bedrock: Mapping[str, Price] = Field(default={}, description="on Amazon Bedrock, by model or inference profile id")

    @classmethod
    def read(cls, text: str) -> Self:
        """A table from TOML. Raises ValueError."""
        return cls.model_validate(tomllib.loads(text, parse_float=Decimal))

    @classmethod
    def load(cls, path: Path) -> Self:
        """A table from a file.

        Raises:
            ValueError: it cannot be read, or is no table of prices.
        """
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError("it is too large")
            return cls.read(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"the price file {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"the price file {path} is not one: {error}") from error

    def price(self, target: Target) -> Price | None:
        """The price of a target's model, None when it is not in the table."""
        model = target.model or ""
        if target.kind == "bedrock":
            return self.bedrock.get(model) or self.bedrock.get(_REGION.sub("", model))
        at_openai = target.kind == "openai" and urlsplit(target.base_url).hostname == _OPENAI
        if not at_openai or target.extra.get("service_tier") not in _STANDARD:
            return None
        return self.openai.get(model) or self.openai.get(_SNAPSHOT.sub("", model))


@cache
def shipped() -> Table:
    """The table that comes with the plugin."""
    return Table.read(files(__package__).joinpath("prices.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Quote:
    """A price and where it is from."""

    price: Price
    #: Version of its table; None of who asks no model.
    version: str | None


_FREE: Final = Quote(Price(input=Decimal(0), output=Decimal(0)), None)


class Prices:
    """What targets cost.

    Args:
        tables: whoever knows a model first is believed.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """The table that comes with the plugin, and before it that of a file. Raises ValueError."""
        return cls([*([Table.load(path)] if path else []), shipped()])

    def quote(self, target: Target) -> Quote | None:
        """A target's price; None when it is not known."""
        if target.kind == "extractive":
            return _FREE
        if target.input_price_per_million is not None and target.output_price_per_million is not None:
            stated = Price(
                input=target.input_price_per_million,
                output=target.output_price_per_million,
                cached=target.cached_price_per_million,
            )
            return Quote(stated, STATED)
        for table in self._tables:
            if price := table.price(target):
                return Quote(price, table.version)
        return None

    def cost(self, target: Target, usage: TokenUsage) -> Decimal | None:
        """US dollars for these tokens; None when the price is not known, 0 for no tokens, whatever the price."""
        if not usage.total:
            return Decimal(0)
        quote = self.quote(target)
        return None if quote is None else quote.price.cost(usage)
