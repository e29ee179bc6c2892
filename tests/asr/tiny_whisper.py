"""A Whisper model that says the same sentence about every 30 seconds it hears, one word each half second.

It has Whisper's architecture, tokenizer and files, and faster-whisper loads and runs it as any other model. Its weights
are written by hand: blocks that add nothing, one-hot positions in the decoder, a projection that maps step k to token
k of the script, and a cross-attention head that ties step k to the k-th half second of sound.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ctranslate2.specs import LanguageModelSpec, WhisperSpec, model_spec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WIDTH = 64
MELS = 80
FRAMES = 1500
POSITIONS = 448
#: Encoder positions in half a second.
STEP = 25
SHARP = 40.0


def build(folder: Path, sentence: str, seconds: float) -> Path:
    """Write the model into ``folder``: its every hearing is ``sentence``, as one segment of so many seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, vocabulary = _tokenizer(sentence)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))
    timestamp = tokenizer.token_to_id("<|notimestamps|>") + 1
    script = [
        timestamp,
        *tokenizer.encode(sentence, add_special_tokens=False).ids,
        timestamp + round(seconds / 0.02),
        tokenizer.token_to_id("<|endoftext|>"),
    ]
    spec = _spec(script, len(vocabulary))
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = []
    spec.config.alignment_heads = [[0, 0]]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.save(str(folder))
    return folder


def _tokenizer(sentence: str) -> tuple[Tokenizer, list[str]]:
    """Byte-level BPE with a token for each word of the sentence, and Whisper's control and timestamp tokens."""
    vocabulary = {char: number for number, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in f" {sentence}".replace(" ", " Ġ").split():
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    names = ["endoftext", "startoftranscript", *tasks]
    controls = [f"<|{name}|>" for name in names]
    tokenizer.add_special_tokens(controls)
    times = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    tokenizer.add_tokens([AddedToken(time, normalized=False) for time in times])
    return tokenizer, [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())]


def _spec(script: list[int], size: int) -> LanguageModelSpec:
    spec = WhisperSpec(1, 1, 1, 1)
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = _zeros(WIDTH, MELS, 3), _zeros(WIDTH)
    encoder.conv2.weight, encoder.conv2.bias = _zeros(WIDTH, WIDTH, 3), _zeros(WIDTH)
    encoder.position_encodings.encodings = np.eye(WIDTH, dtype=np.float32)[np.arange(FRAMES) // STEP]
    decoder.position_encodings.encodings = np.eye(WIDTH, dtype=np.float32)[np.minimum(np.arange(POSITIONS), WIDTH - 1)]
    decoder.embeddings.weight = _zeros(size, WIDTH)
    decoder.projection.weight = _zeros(size, WIDTH)
    for step, token in enumerate(script):
        decoder.projection.weight[token, step] = SHARP
    for layer in (*encoder.layer, *decoder.layer):
        _inert(layer)
    # the word said at step k is written at position k + 1 when times are asked for
    attention = decoder.layer[0].attention
    attention.linear[0].weight = SHARP * np.eye(WIDTH, k=1, dtype=np.float32)
    attention.linear[1].weight[:WIDTH] = np.eye(WIDTH, dtype=np.float32)
    for norm in (encoder.layer_norm, decoder.layer_norm):
        _norm(norm)
    return spec


def _inert(layer: model_spec.LayerSpec) -> None:
    """A block that adds nothing to what passes it."""
    blocks = {"self_attention": (3, 1), "attention": (1, 2, 1)}
    for name, widths in blocks.items():
        block = getattr(layer, name, None)
        if block is not None:
            _norm(block.layer_norm)
            for linear, width in zip(block.linear, widths, strict=True):
                linear.weight, linear.bias = _zeros(width * WIDTH, WIDTH), _zeros(width * WIDTH)
    _norm(layer.ffn.layer_norm)
    for linear in (layer.ffn.linear_0, layer.ffn.linear_1):
        linear.weight, linear.bias = _zeros(WIDTH, WIDTH), _zeros(WIDTH)


def _norm(norm: model_spec.LayerSpec) -> None:
    norm.gamma, norm.beta = np.ones(WIDTH, dtype=np.float32), _zeros(WIDTH)


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.float32)
