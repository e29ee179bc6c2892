"""The main job with a real vLLM server: whatever the model writes, a document comes out, without what it made up."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from docx import Document

ROOT = Path(__file__).resolve().parents[2]
TRANSCRIPT = ROOT / "examples" / "recording" / "disk-full.json"


async def test_noise_from_a_model_still_ends_in_a_document(vllm: Any, tmp_path: Path) -> None:
    target = {
        "name": "vllm", "base_url": vllm.url, "timeout": 300, "context_window": 8192,
        "bound_items": 3, "bound_characters": 80,
        "input_price_per_million": "0.1", "output_price_per_million": "0.2",
    }  # fmt: skip
    environment = {
        **os.environ,
        "STENOBUS_LLM_TARGETS": json.dumps([target]),
        "STENOBUS_DATA_DIR": str(tmp_path / "data"),
        "STENOBUS_NATS_PORT": "0",
        # Several small chunks: to some of them even a model of noise answers with items.
        "STENOBUS_DOCUMENTS_EXTRACT_MAX_TOKENS_PER_CHUNK": "200",
    }

    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("stenobus")), "process", str(TRANSCRIPT), "--out", str(tmp_path), "--json",
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()

    assert process.returncode == 0, f"{output.decode()}\n{errors.decode()}"
    result = json.loads(output)
    body = result["body"]
    assert (result["statusCode"], body["method"], body["stages_completed"]) == (200, "model", 6)
    assert body["tokens_used"]["input"] > 1000
    assert float(body["cost_usd"]) > 0
    [docx] = tmp_path.glob("*.docx")
    text = "\n".join(paragraph.text for paragraph in Document(str(docx)).paragraphs)
    assert "Written by a language model: tiny (vllm)" in text
    [markdown] = tmp_path.glob("*.md")
    assert "- Coverage: 0 statements from 0 of" in markdown.read_text(encoding="utf-8")
