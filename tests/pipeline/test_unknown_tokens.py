"""Unknown tokens are counted in the ids that a cache holds, caption by caption."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "interpretation"))

import picture_world

from cache import ActivationCache
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.unknown_tokens import UnknownTokens, count_unknown_tokens

TINY = Path(__file__).parents[2] / "models" / "tiny-siglip"


def cache_whose_unknown_word_is(word: str | None, path: Path) -> ActivationCache:
    number = None if word is None else [*picture_world.WORDS].index(word)
    return picture_world.write_cache(
        path / "val.zarr", "val", picture_world.pictures(), tokenizer={"unknown_id": number}
    )


@pytest.mark.parametrize("word", ["boat", "meadow", "unicorn"])
def test_they_are_counted_once_for_every_caption_that_a_pair_has(word: str, tmp_path: Path) -> None:
    said = [
        token
        for picture in picture_world.pictures()
        if picture.skip_reason is None
        for caption in picture.captions
        for token in picture_world.words_of(caption)
    ]
    found = count_unknown_tokens(cache_whose_unknown_word_is(word, tmp_path))
    assert found == UnknownTokens(said.count(word), len(said))
    assert found.notable is (said.count(word) > 0.05 * len(said))


def test_a_tokenizer_that_knows_every_word_and_an_older_cache_say_nothing(tmp_path: Path) -> None:
    assert count_unknown_tokens(cache_whose_unknown_word_is(None, tmp_path)) is None
    old = picture_world.write_cache(tmp_path / "old.zarr", "val", picture_world.pictures())
    assert count_unknown_tokens(old) is None


def test_a_backbones_identity_says_which_token_is_unknown() -> None:
    backbone = load_backbone(BackboneOptions(model=f"local-dir:{TINY}"))
    ids, valid = backbone.tokenize(["a zyzzyva"])
    assert backbone.identity["tokenizer"]["unknown_id"] == ids[valid][1]
