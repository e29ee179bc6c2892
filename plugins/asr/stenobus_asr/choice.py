"""Decides which engine hears, and says why."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from .engines import EngineSpec
from .errors import AsrError
from .settings import Settings

#: Whisper models that ``auto`` looks for in the local cache, best first.
KNOWN: Final = (
    "Systran/faster-whisper-large-v3",
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-whisper/distil-large-v3.5-ct2",
    "Systran/faster-distil-whisper-large-v3",
    "Systran/faster-whisper-large-v2",
    "Systran/faster-whisper-medium",
    "Systran/faster-whisper-small",
    "Systran/faster-whisper-base",
    "Systran/faster-whisper-tiny",
)


class ChoiceError(AsrError):
    """The settings ask for an engine that cannot run here."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, why it was taken, and how many processes use it."""

    spec: EngineSpec
    reason: str
    workers: int


def choose(settings: Settings) -> Choice:
    """The engine for these settings.

    Nothing is downloaded here, and later only a model that the settings name.

    Raises:
        ChoiceError: the settings ask for something that is not there.
    """
    if settings.engine == "pocketsphinx":
        return _pocketsphinx(settings, "The settings ask for pocketsphinx.")
    whisper = partial(_whisper, settings)
    if settings.model is not None:
        folder = Path(settings.model).expanduser()
        if folder.is_dir():
            return whisper(settings.model, folder, f"The settings name the Whisper model in {settings.model}.")
        if settings.model.startswith(("/", ".", "~")):
            raise ChoiceError(f"STENOBUS_ASR_MODEL names the folder {settings.model}, which does not exist.")
        return whisper(settings.model, None, f"The settings name the Whisper model {settings.model}.")
    for name in KNOWN:
        if (folder_found := _cached(name)) is not None:
            return whisper(name, folder_found, f"The Whisper model {name} lies in the local cache.")
    missing = "no Whisper model is named by STENOBUS_ASR_MODEL or lies in the local cache"
    if settings.engine == "faster-whisper":
        raise ChoiceError(f"STENOBUS_ASR_ENGINE is faster-whisper, but {missing}.")
    return _pocketsphinx(settings, f"pocketsphinx is always there, and {missing}.")


def _pocketsphinx(settings: Settings, reason: str) -> Choice:
    spec = EngineSpec(name="pocketsphinx", version=version("pocketsphinx"), model="en-us", source="")
    return Choice(spec, reason, settings.workers or min(4, os.cpu_count() or 1))


def _whisper(settings: Settings, name: str, folder: Path | None, reason: str) -> Choice:
    if folder is not None and not (folder / "model.bin").is_file():
        raise ChoiceError(f"STENOBUS_ASR_MODEL: {folder} holds no model.bin; it must be a CTranslate2 Whisper model.")
    spec = EngineSpec(
        name="faster-whisper",
        version=version("faster-whisper"),
        model=name,
        source=str(folder or name),
        fingerprint=_fingerprint(folder) if folder else "",
        device=settings.device,
        compute_type=settings.compute_type,
        beam_size=settings.beam_size,
        threads=settings.threads,
    )
    return Choice(spec, reason, settings.workers or 1)


def _cached(name: str) -> Path | None:
    """The folder of a model that was downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "model.bin")
    return Path(found).parent if isinstance(found, str) else None


def _fingerprint(folder: Path) -> str:
    """Changes when the model does; its gigabytes are not read for it."""
    facts = (folder / "model.bin").stat()
    return f"{facts.st_size}-{facts.st_mtime_ns}"
