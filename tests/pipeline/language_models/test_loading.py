"""What a folder of a vision-language decoder lacks is said in one line."""

from pathlib import Path

import pytest
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.errors import BackboneError
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import PromptOptions, StateOptions


@pytest.fixture
def folder(model: LlavaForConditionalGeneration, processor: LlavaProcessor, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "llava")
    processor.save_pretrained(tmp_path / "llava")
    return tmp_path / "llava"


def load(folder: Path) -> None:
    prompt = PromptOptions(template="<image> {text}")
    load_decoder(StateOptions(model=f"local-dir:{folder}", layer=1, prompt=prompt, device="cpu"))


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors", "tokenizer.json", "processor_config.json"]
)
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe", None], ids=["empty", "a list", "bytes", "missing"]
)
def test_a_damaged_or_missing_file_is_one_line(folder: Path, file: str, content: bytes | None) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(BackboneError, match=r"hallucination\.states\.model: .*") as refused:
        load(folder)
    assert "\n" not in str(refused.value)
