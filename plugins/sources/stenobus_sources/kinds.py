"""What a record must be to become a document: one schema per kind, and how its text reads."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from .html import one_line, to_text


def _plain(value: Any) -> Any:
    """Text of what a site gives for a field: a string, a number, a rendered object, a list of any of them."""
    if isinstance(value, dict):
        value = value.get("rendered", value.get("name", value.get("title", value.get("value"))))
    if isinstance(value, list):
        value = ", ".join(filter(None, (str(_plain(part) or "") for part in value)))
    if isinstance(value, bool) or value is None or value == "":
        return None
    return one_line(str(value)) or None


def _body(value: Any) -> Any:
    if isinstance(value, dict):
        value = value.get("rendered")
    return to_text(value) if isinstance(value, str) else value


_DATE: Final = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ](\d{2}):(\d{2})(?::\d{2})?.*)?")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:[ ,]+(\d{1,2}):(\d{2})(?::\d{2})?)?")


def _when(value: Any) -> Any:
    """A local date, or date and time, as ISO 8601 writes it. ACF writes 20260906, people 06/09/2026."""
    text = _plain(value)
    if text is None:
        return None
    if found := _DATE.fullmatch(text):
        year, month, day, hour, minute = found.groups()
    elif found := _DAY_FIRST.fullmatch(text):
        day, month, year, hour, minute = found.groups()
    else:
        raise ValueError(f"{text[:40]!r} is no date: write 2026-09-06, 20260906 or 06/09/2026, and perhaps 19:30")
    if hour is None:
        return date(int(year), int(month), int(day)).isoformat()
    return datetime(int(year), int(month), int(day), int(hour), int(minute)).isoformat(timespec="minutes")


def _http(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError(f"{value[:60]!r} is no web address")
    return value


def _number(value: Any) -> Any:
    return None if value in ("", None, False) else value.replace(",", ".") if isinstance(value, str) else value


_Short = Annotated[str, Field(max_length=2000)]
Line = Annotated[_Short | None, BeforeValidator(_plain), Field(default=None)]
Body = Annotated[str, BeforeValidator(_body), Field(default="", max_length=2_000_000)]
When = Annotated[str | None, BeforeValidator(_when), Field(default=None)]
Address = Annotated[_Short | None, BeforeValidator(_plain), AfterValidator(_http), Field(default=None)]


class Page(BaseModel):
    """Anything with a title and a text; base of the other kinds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Where a field lies in a post, best place first.
    places: ClassVar[dict[str, tuple[str, ...]]] = {
        "title": ("title",),
        "body": ("content", "excerpt", "acf.descripcion", "acf.description"),
        "link": ("link",),
        "summary": ("excerpt", "acf.bajada", "acf.summary"),
        "categories": ("acf.categoria", "acf.categorias", "acf.category"),
    }
    #: Fields that stand in the text, and what they are called there.
    labels: ClassVar[dict[str, str]] = {"categories": "Categoría"}

    title: Annotated[str, BeforeValidator(lambda value: _plain(value) or ""), Field(min_length=1, max_length=500)]
    body: Body
    link: Address
    summary: Line
    categories: Line

    def text(self) -> str:
        """The record as one Markdown text, by which it is to be found."""
        facts = [f"- {label}: {value}" for name, label in self.labels.items() if (value := getattr(self, name))]
        summary = self.summary if self.summary and self.summary not in " ".join(self.body.split()) else None
        return "\n\n".join(part for part in (f"# {self.title}", summary, "\n".join(facts), self.body) if part) + "\n"

    def metadata(self) -> dict[str, JsonValue]:
        """What a search may filter by and show."""
        return self.model_dump(exclude={"title", "body", "link", "summary"}, exclude_none=True)


class Event(Page):
    """Something that takes place."""

    places: ClassVar[dict[str, tuple[str, ...]]] = {
        **Page.places,
        "starts": ("acf.fecha_inicio", "acf.fecha", "acf.start_date", "meta._EventStartDate", "start_date"),
        "ends": ("acf.fecha_termino", "acf.fecha_fin", "acf.end_date", "meta._EventEndDate", "end_date"),
        "venue": ("acf.lugar", "acf.recinto", "acf.venue", "venue"),
        "address": ("acf.direccion", "acf.address"),
        "price": ("acf.precio", "acf.valor", "acf.price", "cost"),
        "schedule": ("acf.horario", "acf.hora", "acf.schedule"),
    }
    labels: ClassVar[dict[str, str]] = {
        "starts": "Comienza",
        "ends": "Termina",
        "schedule": "Horario",
        "venue": "Lugar",
        "address": "Dirección",
        "price": "Precio",
        "categories": "Categoría",
    }

    starts: When
    ends: When
    venue: Line
    address: Line
    price: Line
    schedule: Line

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        # A day ends after every hour of it.
        if self.starts and self.ends and self.ends < self.starts[: len(self.ends)]:
            raise ValueError(f"it ends on {self.ends}, before it starts on {self.starts}")
        return self


class Question(Page):
    """A question and its answer."""

    places: ClassVar[dict[str, tuple[str, ...]]] = {
        **Page.places,
        "title": ("acf.pregunta", "acf.question", "title"),
        "body": ("acf.respuesta", "acf.answer", "content"),
    }

    @model_validator(mode="after")
    def _answered(self) -> Self:
        if not self.body:
            raise ValueError("the question has no answer")
        return self


class Store(Page):
    """A shop, and where it is."""

    places: ClassVar[dict[str, tuple[str, ...]]] = {
        **Page.places,
        "address": ("acf.direccion", "acf.address"),
        "location": ("acf.ubicacion", "acf.local", "acf.piso", "acf.location"),
        "hours": ("acf.horario", "acf.horarios", "acf.hours"),
        "phone": ("acf.telefono", "acf.phone"),
        "website": ("acf.sitio_web", "acf.web", "acf.website"),
        "latitude": ("acf.latitud", "acf.latitude", "acf.mapa.lat"),
        "longitude": ("acf.longitud", "acf.longitude", "acf.mapa.lng"),
    }
    labels: ClassVar[dict[str, str]] = {
        "categories": "Categoría",
        "location": "Ubicación",
        "address": "Dirección",
        "hours": "Horario",
        "phone": "Teléfono",
        "website": "Sitio web",
    }

    address: Line
    location: Line
    hours: Line
    phone: Line
    website: Address
    latitude: Annotated[Annotated[float, Field(ge=-90, le=90)] | None, BeforeValidator(_number), Field(default=None)]
    longitude: Annotated[Annotated[float, Field(ge=-180, le=180)] | None, BeforeValidator(_number), Field(default=None)]


class Restaurant(Store):
    """A place to eat."""

    places: ClassVar[dict[str, tuple[str, ...]]] = {
        **Store.places,
        "cuisine": ("acf.tipo_de_cocina", "acf.cocina", "acf.tipo_comida", "acf.cuisine"),
        "menu": ("acf.carta", "acf.menu"),
        "price": ("acf.precio", "acf.rango_de_precio", "acf.price"),
    }
    labels: ClassVar[dict[str, str]] = {
        "cuisine": "Cocina",
        **Store.labels,
        "price": "Precio",
        "menu": "Carta",
    }

    cuisine: Line
    menu: Address
    price: Line


class Text(Page):
    """A file, whose text is Markdown already."""

    labels: ClassVar[dict[str, str]] = {}

    title: Annotated[str, Field(min_length=1, max_length=500)]
    body: Annotated[str, Field(max_length=20_000_000)]
    link: Annotated[str | None, Field(default=None, max_length=4000)]


KINDS: Final[dict[str, type[Page]]] = {
    "page": Page,
    "event": Event,
    "question": Question,
    "store": Store,
    "restaurant": Restaurant,
}


def shape(kind: str, data: dict[str, JsonValue], fields: dict[str, tuple[str, ...] | str]) -> Page:
    """A post as a record of a kind.

    Args:
        fields: places of the user's own, which come before the usual ones.

    Raises:
        ValidationError: it breaks the kind's schema.
    """
    model = KINDS[kind]
    found = {}
    for name, usual in model.places.items():
        own = fields.get(name, ())
        for place in ((own,) if isinstance(own, str) else own) + usual:
            if (value := _at(data, place)) not in (None, "", False, [], {}):
                found[name] = value
                break
    return model.model_validate(found)


def _at(data: JsonValue, place: str) -> JsonValue:
    for step in place.split("."):
        data = data.get(step) if isinstance(data, dict) else None
    return data
