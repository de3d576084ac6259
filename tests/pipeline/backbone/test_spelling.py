"""Words and terms in the tokens of real tokenizers: of bytes, of sentencepiece, of WordPiece, of words, and CLIP's."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.backbone.spelling import Spelling, Word, over_words
from pipeline.backbone.tokenizer import CaptionTokenizer, ClipTokenizer, HuggingFaceTokenizer

CORPUS = [
    "a red boat near a small café by the sea",
    "two cats and a caterpillar under the umbrellas",
    "a traffic light in the street, and traffic in the rain.",
    "crème brûlée and cafe\u0301 au lait",
]
STRANGE = [
    "a café 😀 here",
    "👍🏽 crème brûlée",
    "黒い猫が好き",
    "cafe\u0301 au lait",
    "día — mañana",
    "한국어 boat",
]
CONTEXT = 96


def byte_pairs(merges: int) -> Tokenizer:
    """GPT-2's kind: with few merges a letter with an accent is two tokens, and an emoji four."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "</s>"]
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=258 + merges, initial_alphabet=alphabet, special_tokens=special),
    )
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Sentencepiece's kind: what the pieces cannot write is written by its bytes, `<0xE2>`."""
    pieces = ["<pad>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "▁a", "▁ca", "f", "t", "s", "▁boat", "▁traffic", "▁light", *"abcdefghijklmnopqrstuvwxyz"]
    scores = [(piece, -float(len(piece) == 1) - 1) for piece in dict.fromkeys(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def word_pieces(with_decoder: bool) -> Tokenizer:
    """BERT's kind, which drops case and accents."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=70, special_tokens=["<pad>", "</s>", "<unk>"])
    tokenizer.train_from_iterator(CORPUS, trainer)
    if with_decoder:
        tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def whole_words() -> Tokenizer:
    """The embedded backbone's kind: words of a list, and no decoder."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<pad>", "</s>", "<unk>"])
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


HUGGING_FACE: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: byte_pairs(0),
    "byte pairs": lambda: byte_pairs(150),
    "byte fallback": byte_fallback,
    "WordPiece": lambda: word_pieces(True),
    "WordPiece without a decoder": lambda: word_pieces(False),
    "words": whole_words,
}
KINDS = [*HUGGING_FACE, "CLIP"]
OF_BYTES = ["bytes", "byte pairs", "byte fallback", "CLIP"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CaptionTokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    made = {name: hugging_face(make(), folder / name) for name, make in HUGGING_FACE.items()}
    return {**made, "CLIP": ClipTokenizer(SimpleTokenizer(context_length=CONTEXT), CONTEXT)}


def hugging_face(tokenizer: Tokenizer, folder: Path) -> CaptionTokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    unknown = {"unk_token": "<unk>"} if tokenizer.token_to_id("<unk>") is not None else {}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", **unknown
    ).save_pretrained(folder)
    return HuggingFaceTokenizer(HFTokenizer(str(folder), context_length=CONTEXT), CONTEXT)


def token_ids(tokenizer: CaptionTokenizer, text: str) -> list[int]:
    ids, valid = tokenizer.tokenize([text])
    return ids[0][valid[0]].tolist()


def spelling(tokenizer: CaptionTokenizer, text: str) -> Spelling:
    return tokenizer.spelling(token_ids(tokenizer, text))


def texts(spelled: Spelling) -> list[str]:
    return [word.text for word in spelled.words() if not word.special]


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_decoded_whole_however_they_are_cut(
    tokenizers: dict[str, CaptionTokenizer], kind: str
) -> None:
    words = spelling(tokenizers[kind], "a red boat near a small café.").words()
    shown = "".join((" " if word.spaced else "") + word.text for word in words if not word.special)
    wanted = "a red boat near a small café."
    assert shown.strip() == (wanted.replace("é", "e") if kind.startswith("WordPiece") else wanted)
    assert words[-1].special and words[-1].text in {"</s>", "<end_of_text>"}


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("kind", OF_BYTES)
def test_no_character_is_shown_as_its_bytes(
    tokenizers: dict[str, CaptionTokenizer], kind: str, text: str
) -> None:
    shown = texts(spelling(tokenizers[kind], text))
    assert "".join(shown) == unicodedata.normalize("NFC", text).replace(" ", "")  # as open_clip cleans it
    assert [word for word in text.split() if word.isascii()] == [word for word in shown if word.isascii()]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    cut=st.integers(0, 12),
)
def test_words_take_every_token_once_and_in_order_also_of_a_text_cut_within_a_character(
    tokenizers: dict[str, CaptionTokenizer], kind: str, text: str, cut: int
) -> None:
    ids = token_ids(tokenizers[kind], text)
    ids = ids[: len(ids) - min(cut, len(ids))]
    spelled = tokenizers[kind].spelling(ids)
    taken = [token for word in spelled.words() for token in word.tokens]
    assert taken == list(range(len(ids)))
    assert len(spelled.owners) == len(spelled.text)
    assert all(token < len(ids) for owner in spelled.owners for token in owner)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("a small café by the sea", "café"),
        ("a small café by the sea", "cafe\u0301"),
        ("a small cafe\u0301 by the sea", "Café"),
        ("a traffic light in the street", "traffic light"),
        ("the umbrellas", "umbrellas"),
        ("two cats and a caterpillar", "cats"),
    ],
)
def test_a_term_is_found_in_the_tokens_that_write_it(
    tokenizers: dict[str, CaptionTokenizer], kind: str, text: str, term: str
) -> None:
    tokenizer = tokenizers[kind]
    ids = token_ids(tokenizer, text)
    found = tokenizer.occurrences(ids, [term])
    assert found == list(range(found[0], found[-1] + 1))
    written = tokenizer.spelling([ids[token] for token in found])
    assert "".join(texts(written)) in {
        form.replace(" ", "") for form in ("café", "cafe\u0301", "cafe", "traffic light", term)
    }
    others = [token for token in range(len(ids)) if token not in found]
    rest = tokenizer.spelling([ids[token] for token in others]).text
    assert len(rest.replace(" ", "")) == len("".join(texts(tokenizer.spelling(ids)))) - len(
        "".join(texts(written))
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("a caterpillar", "cat"),
        ("a traffic jam and a light", "traffic light"),
        ("a café by the sea", "caf"),
        ("a boat", "sea"),
        ("", "cat"),
        ("a boat", ""),
        ("a boat", "zeppelin"),
    ],
)
def test_parts_of_other_words_are_no_terms(
    tokenizers: dict[str, CaptionTokenizer], kind: str, text: str, term: str
) -> None:
    assert tokenizers[kind].occurrences(token_ids(tokenizers[kind], text), [term]) == []


def test_a_word_among_words_without_spaces_is_found(tokenizers: dict[str, CaptionTokenizer]) -> None:
    ids = token_ids(tokenizers["bytes"], "黒い猫が好き")
    assert tokenizers["bytes"].occurrences(ids, ["猫"]) == [6, 7, 8]  # three bytes per character


def test_unknown_words_are_told_apart_from_marks(tokenizers: dict[str, CaptionTokenizer]) -> None:
    spelled = spelling(tokenizers["words"], "a zeppelin near a boat")
    assert spelled.unknown == (1,)
    assert texts(spelled) == ["a", "near", "a", "boat"]
    assert [word.tokens for word in spelled.words()] == [range(n, n + 1) for n in range(6)]
    assert all(spelling(tokenizers[kind], "a zeppelin 😀").unknown == () for kind in OF_BYTES)
    assert tokenizers["words"].occurrences(token_ids(tokenizers["words"], "a zeppelin"), ["airship"]) == []


def test_bytes_of_a_character_that_was_cut_off_are_shown_as_the_replacement_character(
    tokenizers: dict[str, CaptionTokenizer],
) -> None:
    ids = token_ids(tokenizers["bytes"], "a 😀")
    assert texts(tokenizers["bytes"].spelling(ids[:4])) == ["a", "\ufffd"]


def test_what_tokens_have_is_combined_over_each_word() -> None:
    words = [
        Word("a", False, False, range(1)),
        Word("café", True, False, range(1, 4)),
        Word(".", False, False, range(4, 5)),
    ]
    of_tokens = np.array([[1.0, 2.0, 5.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0, 0.0]])
    assert over_words(np.add, of_tokens, words).tolist() == [[1.0, 10.0, 4.0], [0.0, 1.0, 0.0]]
    assert over_words(np.maximum, of_tokens, words).tolist() == [[1.0, 5.0, 4.0], [0.0, 1.0, 0.0]]
    assert over_words(np.add, np.zeros((2, 0)), []).shape == (2, 0)
