"""Models of others: a real ONNX session, and servers that speak the real protocols and refuse anything else."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from stenobus_kb.embedders.bedrock import TitanEmbedder
from stenobus_kb.embedders.choice import chosen
from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.embedders.onnx import OnnxEmbedder, processors
from stenobus_kb.embedders.openai import OpenAiEmbedder
from stenobus_kb.errors import EmbedderRefused, EmbedderUnavailable
from stenobus_kb.settings import Settings

TABLE = np.array([[5, 5, 5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 4, 0]], dtype=np.float32)
VOCABULARY = {"[PAD]": 0, "whale": 1, "giraffe": 2, "[UNK]": 3, "query": 4}


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A protobuf message, as ONNX models are: numbers and byte strings by field number."""
    found = b""
    for number, value in fields:
        if isinstance(value, int):
            found += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            found += varint(number << 3 | 2) + varint(len(data)) + data
    return found


def port(name: str, kind: int, *dims: str | int) -> bytes:
    shape = message(*((1, message((2, dim) if isinstance(dim, str) else (1, dim))) for dim in dims))
    return message((1, name), (2, message((1, message((1, kind), (2, shape))))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that looks every token up in a table; its mean is the text's vector."""
    floats, integers = 1, 7
    table = message((1, 5), (1, 3), (2, floats), (8, "table"), (9, TABLE.tobytes()))
    look_up = message((1, "table"), (1, "input_ids"), (2, "last_hidden_state"), (4, "Gather"))
    graph = message(
        (1, look_up), (2, "tiny"), (5, table),
        (11, port("input_ids", integers, "batch", "token")), (11, port("attention_mask", integers, "batch", "token")),
        (12, port("last_hidden_state", floats, "batch", "token", 3)),
    )  # fmt: skip
    place = tmp_path / "tiny"
    place.mkdir()
    (place / "model.onnx").write_bytes(message((1, 8), (7, graph), (8, message((1, ""), (2, 13)))))
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(place / "tokenizer.json"))
    return place


def test_an_onnx_model_is_loaded_and_its_mean_is_taken_without_the_padding(folder: Path) -> None:
    embedder = OnnxEmbedder(folder)
    assert embedder.dimension == 3 and embedder.model.startswith("onnx/tiny@")
    short, long = embedder.embed(["whale", "whale giraffe whale giraffe"])
    assert short.tolist() == [1, 0, 0]  # its padding is not in it
    assert long.tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0])
    assert embedder.embed([]).shape == (0, 3)
    assert embedder.embed(["whale"] * 100).tolist() == [[1, 0, 0]] * 100


def test_a_prefix_belongs_to_the_model_and_a_question_has_its_own(folder: Path) -> None:
    embedder = OnnxEmbedder(folder, ("giraffe ", "query "))
    [passage], [question] = embedder.embed(["giraffe"]), embedder.embed(["query"], "query")
    assert passage.tolist() == [0, 1, 0] and question.tolist() == pytest.approx([0.6, 0.8, 0])
    assert embedder.model != OnnxEmbedder(folder).model


def test_another_file_is_another_model(folder: Path) -> None:
    before = OnnxEmbedder(folder).model
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes().replace(TABLE.tobytes(), (TABLE * 2).tobytes()))
    assert OnnxEmbedder(folder).model != before


def test_a_folder_without_a_model_or_with_a_broken_one_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedderRefused, match="STENOBUS_KB_EMBEDDING_MODEL"):
        OnnxEmbedder(tmp_path / "nowhere")
    (folder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(EmbedderRefused, match="cannot be loaded"):
        OnnxEmbedder(folder)


def test_threads_are_those_of_this_process() -> None:
    import os

    assert 1 <= processors() <= len(os.sched_getaffinity(0))


class Server(ThreadingHTTPServer):
    """Answers embeddings as OpenAI and Bedrock do, and 400 to whatever they do not know."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.answer: bytes | None = None
        self.error = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        if self.path == "/v1/embeddings":
            fine = (
                set(body) <= {"model", "input", "encoding_format", "dimensions", "user"}
                and body["encoding_format"] == "float" and body["model"] == "tiny" and 1 <= len(body["input"]) <= 64
                and all(isinstance(text, str) and text for text in body["input"])
            )  # fmt: skip
            dimension = body.get("dimensions", 4)
            data = [
                {"object": "embedding", "index": index, "embedding": [float(len(text))] + [1.0] * (dimension - 1)}
                for index, text in enumerate(body["input"])
            ]
            found: Any = {"object": "list", "data": data[::-1], "model": "tiny", "usage": {"prompt_tokens": 1}}
            key = self.headers["authorization"] == "Bearer secret"
            status = self.server.status if self.server.status != 200 else 200 if fine and key else 401 if fine else 400
        else:
            fine = (
                unquote(self.path) == "/model/amazon.titan-embed-text-v2:0/invoke"
                and set(body) == {"inputText", "dimensions", "normalize"}
                and body["inputText"] and body["dimensions"] in {256, 512, 1024}
                and self.headers["authorization"].startswith("AWS4-HMAC-SHA256")
            )  # fmt: skip
            size = len(body["inputText"])
            found = {"embedding": [float(size)] + [0.5] * (body["dimensions"] - 1), "inputTextTokenCount": 1}
            status = self.server.status if self.server.status != 200 else 200 if fine else 400
        data_sent = self.server.answer or json.dumps(found if status == 200 else {"message": "no"}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data_sent)))
        if self.server.error:
            self.send_header("x-amzn-errortype", self.server.error)
        self.end_headers()
        self.wfile.write(data_sent)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_openai_server_is_asked_in_batches_and_its_order_is_not_trusted(server: Server) -> None:
    embedder = OpenAiEmbedder(f"{server.url}/v1", "tiny", "secret")
    assert embedder.dimension == 4
    rows = embedder.embed(["x" * size for size in range(1, 131)])
    assert [len(body["input"]) for body in server.asked] == [1, 64, 64, 2]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(130))
    assert rows[:, 0] == pytest.approx([size / math.sqrt(size**2 + 3) for size in range(1, 131)])
    assert "dimensions" not in server.asked[0]
    assert OpenAiEmbedder(f"{server.url}/v1", "tiny", "secret", 8).embed(["x"]).shape == (1, 8)


def test_titan_is_asked_text_by_text_in_order(server: Server) -> None:
    embedder = TitanEmbedder(dimension=256, region="us-east-1", endpoint_url=server.url)
    rows = embedder.embed(["x" * size for size in range(1, 21)])
    assert rows.shape == (20, 256) and len(server.asked) == 20
    assert (np.diff(rows[:, 0]) > 0).all() and np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(20))
    assert embedder.embed([]).shape == (0, 256)


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, EmbedderUnavailable), (503, EmbedderUnavailable), (401, EmbedderRefused), (404, EmbedderRefused)],
)
def test_what_may_pass_is_told_from_what_never_will(server: Server, status: int, error: type[Exception]) -> None:
    server.status = status
    with pytest.raises(error) as caught:
        OpenAiEmbedder(f"{server.url}/v1", "tiny", "secret").embed(["x"])
    assert "secret" not in str(caught.value) and str(status) in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(429, "ThrottlingException", EmbedderUnavailable), (403, "AccessDeniedException", EmbedderRefused)],
)
def test_bedrock_says_which_it_is(server: Server, status: int, code: str, error: type[Exception]) -> None:
    server.status, server.error = status, code
    with pytest.raises(error, match=code):
        TitanEmbedder(dimension=256, region="us-east-1", endpoint_url=server.url).embed(["x"])


@pytest.mark.parametrize(
    "answer",
    [
        b"no json",
        b"{}",
        b'{"data": []}',
        b'{"data": [{"index": 0, "embedding": 7}]}',
        b'{"data": [{"index": 0, "embedding": [1, null]}]}',
        b'{"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": [1]}]}',
    ],
)
def test_an_answer_that_is_no_vectors_is_refused(server: Server, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(EmbedderRefused):
        OpenAiEmbedder(f"{server.url}/v1", "tiny", "secret", 2).embed(["x"])


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(EmbedderUnavailable):
        OpenAiEmbedder("http://127.0.0.1:9/v1", "tiny").embed(["x"])


def test_the_settings_choose(folder: Path, server: Server) -> None:
    def choice(**fields: Any) -> Any:
        return chosen(Settings(**fields))

    assert choice(embedder="none") is None
    assert isinstance(choice(), HashedEmbedder) and choice().dimension == 384
    assert choice(embedding_dimension=64).dimension == 64
    assert choice(embedder="onnx", embedding_model=str(folder)).dimension == 3
    openai = choice(
        embedder="openai", embedding_model="tiny", embedding_base_url=f"{server.url}/v1", embedding_api_key="secret"
    )
    assert openai.embed(["x"]).shape == (1, 4)
    assert choice(embedder="bedrock", embedding_region="us-east-1").dimension == 1024
    with pytest.raises(EmbedderRefused, match="STENOBUS_KB_EMBEDDING_MODEL"):
        choice(embedder="openai")
