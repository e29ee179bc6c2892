"""Settings of the speech plugin."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stenobus_core import PluginSettings


class Settings(PluginSettings):
    """``STENOBUS_ASR_<FIELD>`` in the environment, ``[asr]`` in the settings file."""

    engine: Literal["auto", "pocketsphinx", "faster-whisper"] = Field(
        default="auto",
        description="auto takes faster-whisper when a model is named or lies in the local cache, else pocketsphinx",
    )
    model: str | None = Field(
        default=None,
        description="Whisper model for faster-whisper: a folder with a CTranslate2 model, or a name such as small or "
        "Systran/faster-whisper-small, which is downloaded when it is not in the local cache",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where faster-whisper computes")
    compute_type: str = Field(
        default="default", description="number type of faster-whisper: default, int8, int8_float16, float16, float32"
    )
    beam_size: int = Field(default=5, ge=1, le=20, description="hypotheses faster-whisper follows at once")
    language: str | None = Field(
        default=None, description="language when the event names none, BCP 47; Whisper models detect it when absent"
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="worker processes; by default one for faster-whisper, and one per core up to 4 for pocketsphinx",
    )
    threads: int = Field(default=0, ge=0, description="threads of one faster-whisper worker; 0 lets the engine choose")
    max_duration: float = Field(default=6 * 3600.0, gt=0, description="longest recording that is accepted, seconds")
    window: float = Field(
        default=60.0,
        ge=10,
        le=600,
        description="longest stretch recognised in one piece, seconds; it is cut at silence and kept as a checkpoint",
    )
    stall_timeout: float = Field(
        default=900.0,
        gt=0,
        description="seconds a worker may give no sign of life, a model's download included, before it is replaced",
    )
