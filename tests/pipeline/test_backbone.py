import json
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import BackboneError

TINY = "local-dir:models/tiny-siglip"
CAPTIONS = ["a red boat on the beach", "two small cats", ""]


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone(BackboneOptions(model=TINY))


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    return open_clip.create_model(TINY).eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_pooled_embeddings_are_open_clips_own(
    tiny: Backbone, plain: torch.nn.Module, pictures: torch.Tensor
) -> None:
    ids, _ = tiny.tokenize(CAPTIONS)
    with torch.no_grad():
        images, texts = plain.encode_image(pictures), plain.encode_text(ids)
    torch.testing.assert_close(tiny.encode_images(pictures).pooled, images)
    torch.testing.assert_close(tiny.encode_texts(ids).pooled, texts)


def test_patch_tokens_are_the_last_blocks_output_after_the_final_norm(
    tiny: Backbone, plain: torch.nn.Module, pictures: torch.Tensor
) -> None:
    outputs = []
    handle = plain.visual.ln_post.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        plain.visual(pictures)
    handle.remove()
    torch.testing.assert_close(tiny.encode_images(pictures).tokens, outputs[0][:, 1:])


def test_a_patch_alone_is_embedded_as_if_it_were_the_pooled_token(
    tiny: Backbone, plain: torch.nn.Module, pictures: torch.Tensor
) -> None:
    tokens = tiny.encode_images(pictures).tokens
    expected = normalize(tokens @ plain.visual.proj.detach(), dim=-1)
    torch.testing.assert_close(tiny.patch_embeddings(tokens), expected)


def test_shapes_and_grid_are_those_of_the_architecture(tiny: Backbone, pictures: torch.Tensor) -> None:
    ids, valid = tiny.tokenize(CAPTIONS)
    images, texts = tiny.encode_images(pictures), tiny.encode_texts(ids)
    assert tiny.grid == (14, 14)
    assert images.tokens.shape == (3, tiny.patches, tiny.vision_channels)
    assert texts.tokens.shape == (3, tiny.context_length, tiny.text_channels)
    assert images.pooled.shape == texts.pooled.shape == (3, tiny.embedding)
    assert valid.shape == ids.shape == (3, tiny.context_length)


def test_valid_tokens_are_the_words_of_a_caption(tiny: Backbone) -> None:
    ids, valid = tiny.tokenize(CAPTIONS)
    words = [tiny.spelling(row[mask]).words() for row, mask in zip(ids, valid, strict=True)]
    assert [[word.text for word in of_caption] for of_caption in words] == [
        caption.split() for caption in CAPTIONS
    ]


def test_padding_does_not_touch_the_words_before_it(tiny: Backbone) -> None:
    """Other words after the end token change neither the words nor the pooled embedding: the tower is causal."""
    ids, valid = tiny.tokenize(["a red boat on the beach"])
    other = ids.clone()
    length = int(valid.sum())
    other[0, length + 1 :] = 5
    assert not torch.equal(ids, other)
    one, two = tiny.encode_texts(ids), tiny.encode_texts(other)
    torch.testing.assert_close(one.pooled, two.pooled)
    torch.testing.assert_close(one.tokens[:, : length + 1], two.tokens[:, : length + 1])


def test_a_caption_longer_than_the_context_is_counted_before_it_is_cut(tiny: Backbone) -> None:
    long = " ".join(["boat"] * 50)
    assert tiny.count_tokens([long, "a boat", ""]) == [51, 3, 1]
    ids, valid = tiny.tokenize([long])
    assert ids.shape == (1, tiny.context_length)
    assert int(valid.sum()) == tiny.context_length - 1


def test_no_texts_give_no_rows(tiny: Backbone) -> None:
    ids, valid = tiny.tokenize([])
    assert ids.shape == valid.shape == (0, tiny.context_length)
    assert tiny.count_tokens([]) == []


def test_preprocessing_squashes_any_picture_to_the_models_size(tiny: Backbone) -> None:
    for picture in (Image.new("L", (50, 90), 255), Image.new("RGB", (300, 200), (255, 255, 255))):
        pixels = tiny.preprocess(picture)
        assert pixels.shape == (3, 112, 112)
        torch.testing.assert_close(pixels, torch.ones_like(pixels))


def test_a_layer_is_that_blocks_output_with_the_final_norm(tiny: Backbone, pictures: torch.Tensor) -> None:
    first = load_backbone(BackboneOptions(model=TINY, layer=0))
    last = load_backbone(BackboneOptions(model=TINY, layer=-1))
    torch.testing.assert_close(last.encode_images(pictures).tokens, tiny.encode_images(pictures).tokens)
    assert not torch.allclose(first.encode_images(pictures).tokens, tiny.encode_images(pictures).tokens)
    torch.testing.assert_close(first.encode_images(pictures).pooled, tiny.encode_images(pictures).pooled)


def test_siglip_through_timm_runs_offline_at_random_with_another_tokenizer() -> None:
    options = BackboneOptions(model="ViT-B-16-SigLIP", weights="random", tokenizer=TINY)
    backbone = load_backbone(options)
    assert (backbone.grid, backbone.vision_channels, backbone.embedding) == ((14, 14), 768, 768)
    images = backbone.encode_images(torch.zeros(1, 3, 224, 224))
    assert backbone.patch_embeddings(images.tokens).shape == (1, 196, 768)
    ids, valid = backbone.tokenize(["a red boat"])
    assert [word.text for word in backbone.spelling(ids[valid]).words()] == ["a", "red", "boat"]
    assert backbone.encode_texts(ids).tokens.shape == (1, 64, 768)


def test_clips_tokenizer_marks_the_exclamation_mark_it_pads_with(tmp_path: Path) -> None:
    tower = {"width": 16, "layers": 1}
    vision = {"image_size": 32, "patch_size": 16, "head_width": 8, **tower}
    model = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": {"heads": 2, **tower}}
    config = {"model_cfg": model, "preprocess_cfg": {"resize_mode": "squash"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    backbone = load_backbone(BackboneOptions(model=f"local-dir:{tmp_path}", weights="random"))
    ids, valid = backbone.tokenize(["a boat!", "cat"])
    words = [word.text for word in backbone.spelling(ids[0][valid[0]]).words()]
    assert words == ["<start_of_text>", "a", "boat", "!", "<end_of_text>"]
    assert backbone.count_tokens(["a boat!", "cat"]) == valid.sum(dim=1).tolist() == [5, 3]


def test_random_weights_are_a_function_of_their_seed_and_leave_the_global_generator_alone(
    pictures: torch.Tensor,
) -> None:
    before = torch.get_rng_state()
    one, again, other = (
        load_backbone(BackboneOptions(model=TINY, weights="random", seed=seed)).encode_images(pictures).pooled
        for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ViT-B-16-SigLIP"}, "needs weights: one of webli, .*'random'"),
        ({"model": "ViT-B-16-SigLIP", "weights": "webly"}, "'webly' is neither a file nor a tag"),
        ({"model": "ViT-B-16-SigLP", "weights": "random"}, "did you mean ViT-B-16-SigLIP"),
        ({"model": "local-dir:nowhere"}, "nowhere holds no open_clip_config.json"),
        ({"model": TINY, "weights": "webli"}, "brings its own weights"),
        ({"model": TINY, "layer": 3}, "from -3 to 2 .got 3."),
        ({"model": "RN50", "weights": "random"}, "no patch tokens"),
        ({"model": TINY, "tokenizer": "ViT-B-32"}, "49408 tokens, but the text tower"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(options: dict[str, str], message: str) -> None:
    with pytest.raises(BackboneError, match=message) as refusal:
        load_backbone(BackboneOptions.model_validate(options))
    assert "\n" not in str(refusal.value)


def test_a_folder_without_weights_is_refused_rather_than_randomly_initialised(tmp_path: Path) -> None:
    folder = _copied(tmp_path)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(BackboneError, match="holds no weights"):
        load_backbone(BackboneOptions(model=f"local-dir:{folder}"))


def test_broken_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = _copied(tmp_path)
    (folder / "open_clip_model.safetensors").write_bytes(b"not weights")
    with pytest.raises(BackboneError, match="holds no weights that can be read") as refusal:
        load_backbone(BackboneOptions(model=f"local-dir:{folder}"))
    assert "\n" not in str(refusal.value)


def _copied(folder: Path) -> Path:
    for source in Path("models/tiny-siglip").iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    return folder
