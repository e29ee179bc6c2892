"""A sentence-transformers model in ONNX form, from a folder: nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from ..errors import EmbedderRefused
from .vectors import checked

if TYPE_CHECKING:
    from . import Role, Vectors

#: Where such folders hold the model.
_PLACES: Final = ("model.onnx", "onnx/model.onnx")
#: Tokens that are read of a text, and texts of one run.
_LONGEST: Final = 512
_AT_ONCE: Final = 16


def processors() -> int:
    """Processors this process may use, by affinity and cgroup: with more threads a model is many times slower."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota
        return count


class OnnxEmbedder:
    """Mean of the last layer over a text's tokens, as sentence-transformers do it.

    Args:
        folder: holds ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``.
        prefixes: put before a passage, and before a question; E5 models want ``passage: `` and ``query: ``.

    Raises:
        EmbedderRefused: the folder holds no such model.
    """

    def __init__(self, folder: Path, prefixes: tuple[str, str] = ("", "")) -> None:
        model = next((folder / place for place in _PLACES if (folder / place).is_file()), None)
        if model is None or not (folder / "tokenizer.json").is_file():
            raise EmbedderRefused(f"{folder} holds no model.onnx and tokenizer.json: set STENOBUS_KB_EMBEDDING_MODEL.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = processors(), 1
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # neither library has errors of its own
            raise EmbedderRefused(f"{folder} cannot be loaded: {str(error).splitlines()[0]}.") from error
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._prefixes = prefixes
        with model.open("rb") as file:  # the same folder may hold another model tomorrow
            known = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        self.model = f"onnx/{folder.name}@{known}" + (f" after {prefixes[0]!r}" if prefixes[0] else "")
        self.dimension = int(self._run(["dimension"]).shape[1])

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """One row per text, of length 1."""
        prefix = self._prefixes[role == "query"]
        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _AT_ONCE):
            some = [prefix + text for text in texts[start : start + _AT_ONCE]]
            found[start : start + len(some)] = self._run(some)
        return found

    def _run(self, texts: list[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
        given: dict[str, Any] = {
            "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        try:
            layer = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        except Exception as error:  # onnxruntime has no errors of its own; an unknown input is a KeyError
            raise EmbedderRefused(f"The ONNX model cannot be run: {str(error).splitlines()[0]}.") from error
        if layer.ndim == 3:
            weights = mask[:, :, None].astype(np.float32)
            layer = (layer * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
        return checked(layer, len(texts), None, "The ONNX model")
