"""The tiny SigLIP's tokenizer: one token per word of the embedded world's grammar."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from pipeline.runs.json_text import write_json

END, UNKNOWN = "</s>", "<unk>"
END_ID = 0
SPECIAL_TOKENS = {"pad_token": END, "eos_token": END, "unk_token": UNKNOWN}
"""As in SigLIP's own tokenizer, the end token also pads, so a caption's valid tokens are its words."""


def build_tokenizer(words: Iterable[str]) -> Tokenizer:
    """Build a word-level tokenizer that ends each text with `</s>`; a word it does not know becomes `<unk>`."""
    vocabulary = {word: index for index, word in enumerate((END, UNKNOWN, *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, END_ID)])
    return tokenizer


def write_tokenizer(folder: Path, words: Iterable[str], context_length: int) -> int:
    """Write the tokenizer's files into the model's folder; returns the size of its vocabulary."""
    tokenizer = build_tokenizer(words)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        **SPECIAL_TOKENS,
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", SPECIAL_TOKENS)
    return int(tokenizer.get_vocab_size())
