import json
import re
from pathlib import Path

import picture_world
import pytest
import torch

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import ConfigError, RunError
from pipeline.interpretation.cluster_embeddings import cluster_embeddings
from pipeline.interpretation.concept_codes import encode_concepts
from pipeline.interpretation.concept_list import load_concept_list
from pipeline.interpretation.identity import describes
from pipeline.interpretation.known_terms import split_by_tokenizer
from pipeline.interpretation.latent_table import LATENT_SCHEMA, METADATA_KEY, read_latents, write_latents
from pipeline.interpretation.levels import PlacedLatents
from pipeline.interpretation.naming import interpret, name_latents
from pipeline.interpretation.options import InterpretOptions
from pipeline.interpretation.scoring import score_table, true_concepts
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions

MODEL = picture_world.WordModel()
USED = [picture for picture in picture_world.pictures() if picture.skip_reason is None]
TINY_SIGLIP = Path(__file__).parents[3] / "models" / "tiny-siglip"


def changed(options: InterpretOptions, **values) -> InterpretOptions:
    return InterpretOptions(**(options.model_dump() | values))


@pytest.fixture(scope="module")
def sae():
    return picture_world.axis_sae()


@pytest.fixture(scope="module")
def latents(sae, cache, options):
    return interpret(sae, cache, MODEL, options)


def names_of(lists: dict[int, list[tuple[str, int]]], options: InterpretOptions) -> dict[int, tuple]:
    """(name, purity, named) of latents whose concept lists are given."""
    concept_list = load_concept_list(options.concepts)
    embeddings = cluster_embeddings(concept_list.terms, "backbone", MODEL)
    hits = torch.zeros(picture_world.SHARED, len(concept_list.terms), dtype=torch.int64)
    for latent, terms in lists.items():
        for term, count in terms:
            hits[latent, concept_list.terms.index(term)] = count
    columns = name_latents(hits, embeddings, concept_list, options)
    return {
        latent: (columns["name"][latent], columns["purity"][latent], columns["named"][latent])
        for latent in lists
    }


def by_latent(table):
    return {row["latent"]: row for row in table.to_pylist()}


def test_every_latent_is_named_after_the_concept_it_reads(latents):
    names = [row["name"] for row in latents.to_pylist()]
    assert names == ["boat", "cat", "red", "blue", "sea", "meadow", None]
    assert latents["named"].to_pylist() == [True] * 6 + [False]
    assert latents.schema.equals(LATENT_SCHEMA)


def test_hits_count_images_and_synonyms_share_a_cluster(latents):
    boats = sum(picture.noun == "boat" for picture in USED)
    row = by_latent(latents)[0]
    assert row["hits"] == 2 * boats  # "boat" and "ship" in each, the image with two captions once
    assert row["purity"] == 1.0
    assert row["clusters"] == [
        {"hits": 2 * boats, "terms": [{"term": "boat", "hits": boats}, {"term": "ship", "hits": boats}]}
    ]
    assert by_latent(latents)[2]["hits"] == sum(picture.colour == "red" for picture in USED)


def test_top_images_and_their_peak_patches_are_where_the_object_is(latents):
    cats = [picture for picture in USED if picture.noun == "cat"]
    top = by_latent(latents)[1]["top_images"]
    assert len(top) == min(len(cats), 12)
    for image in top:
        picture = picture_world.pictures()[int(Path(image["file"]).stem)]
        assert (picture.noun, image["patch"], image["activation"]) == ("cat", picture.patch, 3.0)


def test_top_captions_carry_their_words_and_what_fires_where(latents):
    top = by_latent(latents)[3]["top_captions"]
    assert len(top) == sum(picture.colour == "blue" for picture in USED)
    for caption in top:
        words = [word["text"] for word in caption["words"]]
        assert words == caption["caption"].split()
        assert words[caption["position"]] == "blue"
        assert caption["activations"] == [3.0 * (word == "blue") for word in words]
        assert caption["activation"] == 3.0


class JoiningModel(picture_world.WordModel):
    """Two of whose tokens write one word, with an accent that neither has alone: "blue boat" is "éboat"."""

    def decode(self, token_ids):
        written = super().decode(token_ids).replace("blue boat", "éboat")
        return re.sub("blue$", "\ufffd", written)


def test_tokens_that_write_one_word_are_shown_as_it_with_the_strongest_of_their_activations(
    sae, cache, options
):
    rows = by_latent(interpret(sae, cache, JoiningModel(), options))
    found = [
        caption
        for latent in (0, 3)  # those of "boat" and of "blue"
        for caption in rows[latent]["top_captions"]
        if "blue boat" in caption["caption"]
    ]
    assert len(found) >= 2
    for caption in found:
        words = [word["text"] for word in caption["words"]]
        assert words[caption["position"]] == "éboat"
        assert " ".join(words) == caption["caption"].replace("blue boat", "éboat")
        assert [word["tokens"] for word in caption["words"]] == [1 + (word == "éboat") for word in words]
        assert caption["activations"] == [caption["activation"] * (word == "éboat") for word in words]


def test_frequencies_are_shares_of_patches_and_tokens(latents):
    row = by_latent(latents)[0]
    boats = sum(picture.noun == "boat" for picture in USED)
    captions = [caption for picture in USED for caption in picture.captions]
    tokens = [word for caption in captions for word in caption.split()]
    assert row["vision_frequency"] == pytest.approx(boats / (16 * len(USED)))
    assert row["text_frequency"] == pytest.approx(tokens.count("boat") / len(tokens))


def test_a_latent_that_never_fires_has_an_empty_row(latents):
    row = by_latent(latents)[picture_world.SILENT]
    assert (row["hits"], row["purity"], row["clusters"], row["top_images"], row["top_captions"]) == (
        0,
        None,
        [],
        [],
        [],
    )


@pytest.mark.parametrize("batch_pairs", [1, 7, 1000])
def test_the_batch_size_changes_nothing_but_its_own_record(sae, cache, options, latents, batch_pairs):
    assert interpret(sae, cache, MODEL, changed(options, batch_pairs=batch_pairs)).equals(latents)


def test_progress_ends_at_the_number_of_pairs(sae, cache, options):
    reports = []
    interpret(
        sae, cache, MODEL, changed(options, batch_pairs=5), lambda done, total: reports.append((done, total))
    )
    assert reports[-1] == (cache.pairs, cache.pairs)
    assert len(reports) == -(-cache.pairs // 5)


def test_a_threshold_above_the_colours_share_leaves_them_without_hits(sae, cache, options):
    strict = by_latent(interpret(sae, cache, MODEL, changed(options, reference="own", threshold=0.7)))
    # colours hold 2 of 3
    assert (strict[0]["hits"] > 0, strict[2]["hits"], strict[4]["hits"]) == (True, 0, 0)


def test_too_few_hits_or_too_little_purity_leave_a_latent_unnamed_but_guessed(sae, cache, options):
    blue = sum(picture.colour == "blue" for picture in USED)
    few = by_latent(interpret(sae, cache, MODEL, changed(options, minimum_hits=blue + 1)))
    assert (few[3]["named"], few[3]["name"], few[0]["named"]) == (False, "blue", True)
    assert few[0]["purity"] == 1.0
    blurred = {3: [("blue", 5), ("sea", 4)], 4: [("sea", 6), ("boat", 4)]}
    assert names_of(blurred, options) == {3: ("blue", 5 / 9, True), 4: ("sea", 0.6, True)}
    assert names_of(blurred, changed(options, minimum_purity=0.58)) == {
        3: ("blue", 5 / 9, False),
        4: ("sea", 0.6, True),
    }


def test_metadata_tell_what_was_done_and_survive_the_file(latents, options, cache, tmp_path):
    write_latents(tmp_path / "latents.parquet", latents)
    table, metadata = read_latents(tmp_path / "latents.parquet")
    assert table.equals(latents)
    assert metadata["options"] == options.model_dump()
    assert metadata["cache_sha256"] == cache.manifest.sha256
    assert metadata["silent_concepts"] == ["unicorn"]
    assert (metadata["concepts"], metadata["images"], metadata["captions"]) == (9, len(USED), cache.pairs)
    assert metadata["score"]["share"] == 1.0


def test_a_table_that_interpret_did_not_write_is_refused(latents, tmp_path):
    path = tmp_path / "latents.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(RunError, match="has no checksum"):
        read_latents(path)
    write_latents(path, latents.drop_columns(["hits"]))
    with pytest.raises(RunError, match="not a table of latents of this version"):
        read_latents(path)


def test_a_prompt_without_a_place_for_the_term_is_refused():
    with pytest.raises(ConfigError, match=r"interpret.prompt: .*no \{term\}"):
        InterpretOptions.parse({"prompt": "a photo"}, "interpret")


def test_mean_pooling_dilutes_a_term_by_the_other_words_of_the_prompt_and_max_does_not(sae):
    terms = ("boat", "cat")
    (strong,) = encode_concepts([PlacedLatents(sae)], MODEL, terms, "a {term}", "max", weighted=False)
    (weak,) = encode_concepts([PlacedLatents(sae)], MODEL, terms, "a {term}", "mean", weighted=False)
    assert strong.codes[0, 0] == 3.0
    assert weak.codes[0, 0] == 1.5
    assert strong.idf.tolist() == [1.0] * picture_world.SHARED


def test_concepts_are_encoded_the_same_in_any_batches(sae):
    terms = (*load_concept_list("world").terms[:20], "boat", "cat", "red")
    (whole,) = encode_concepts([PlacedLatents(sae)], MODEL, terms, "a {term}", "max", weighted=True)
    (parts,) = encode_concepts(
        [PlacedLatents(sae)], MODEL, terms, "a {term}", "max", weighted=True, batch_terms=3
    )
    assert torch.equal(whole.codes, parts.codes)
    assert torch.equal(whole.idf, parts.idf)


def test_names_are_scored_against_the_concept_each_latent_tells_apart(sae, cache, options, latents):
    truth = load_concept_list(options.concepts).truth
    score = score_table(latents, true_concepts(latents, sae, cache, truth))
    assert score["share"] == 1.0
    assert score["kinds"] == {kind: {"named": 2, "correct": 2} for kind in ("noun", "colour", "setting")}
    assert score["correct_in_captions"] == score["same_on_both_sides"] == score["named"] == 6
    assert score["distinct_concepts"] == score["distinct_names"] == 6


def test_a_dictionary_whose_sides_disagree_is_named_and_scored_wrong(cache, options):
    crossed = picture_world.axis_sae()
    with torch.no_grad():  # on the text side, boats read as cats and cats as boats
        crossed.dictionary("text").encoder[[0, 1]] = torch.eye(picture_world.CHANNELS)[[1, 0]]
    table = interpret(crossed, cache, MODEL, options)
    assert table["name"].to_pylist()[:2] == ["cat", "boat"]
    truth = load_concept_list(options.concepts).truth
    score = score_table(table, true_concepts(table, crossed, cache, truth))
    assert score["kinds"]["noun"] == {"named": 2, "correct": 0}
    assert (score["named"], score["correct"]) == (6, 4)
    assert (score["correct_in_captions"], score["same_on_both_sides"]) == (6, 4)


def test_nothing_named_has_no_share_and_no_truth_no_score(sae, cache, options):
    nothing = interpret(sae, cache, MODEL, changed(options, minimum_hits=10_000))
    truth = load_concept_list(options.concepts).truth
    assert not any(nothing["named"].to_pylist())
    assert score_table(nothing, true_concepts(nothing, sae, cache, truth)) == {
        "named": 0,
        "correct": 0,
        "distinct_concepts": 0,
        "distinct_names": 0,
        "correct_in_captions": 0,
        "same_on_both_sides": 0,
        "kinds": {},
    }
    assert true_concepts(nothing, sae, cache, {"boat": "noun:zeppelin"}) is None


def test_the_embedded_backbone_spells_and_encodes_every_term_of_the_embedded_list():
    backbone = load_backbone(BackboneOptions(model=f"local-dir:{TINY_SIGLIP}"))
    sae = LucidSAE(
        LucidOptions(latents=64, k_shared=4, k_private=4), backbone.vision_channels, backbone.text_channels
    )
    terms = load_concept_list("world").terms
    ids, valid = backbone.tokenize(list(terms))
    unknown = backbone.tokenize(["zyzzyva"])[0][0, 0]
    assert valid.any(dim=1).all()
    assert not ((ids == unknown) & valid).any()
    (concepts,) = encode_concepts([PlacedLatents(sae)], backbone, terms, "{term}", "max", weighted=True)
    assert concepts.codes.shape == (len(terms), sae.shared_width)
    assert cluster_embeddings(terms, "backbone", backbone).shape == (len(terms), backbone.embedding)
    assert (concepts.weight >= 0).all()
    english = split_by_tokenizer(load_concept_list("english"), backbone, "a photo of a {term}")
    assert {"cat", "dog", "red", "two"} <= set(english.concepts.terms)
    assert {"giraffe", "fire hydrant", "light blue"} <= set(
        english.unknown
    )  # it knows "blue", but not "light"
    for name in ("world", "english"):
        assert not split_by_tokenizer(load_concept_list(name), backbone, "a photo of a {term}").repeated


@pytest.fixture(scope="module")
def pooled_sae():
    return picture_world.axis_pooled_sae()


@pytest.fixture(scope="module")
def pooled_latents(pooled_sae, cache, options):
    return interpret(pooled_sae, cache, MODEL, options)


def test_a_dictionary_of_whole_pictures_is_named_by_them(pooled_latents, pooled_sae, cache, options):
    names = pooled_latents["name"].to_pylist()
    assert names == ["boat", "cat", "red", "blue", "sea", "meadow", None, None]
    truth = load_concept_list(options.concepts).truth
    score = score_table(pooled_latents, true_concepts(pooled_latents, pooled_sae, cache, truth))
    assert (score["share"], score["same_on_both_sides"]) == (1.0, 6)


def test_a_whole_picture_has_no_peak_patch_and_a_whole_caption_no_peak_token(
    pooled_latents, latents, tmp_path
):
    write_latents(tmp_path / "latents.parquet", pooled_latents)
    table, metadata = read_latents(tmp_path / "latents.parquet")
    assert metadata["inputs"] == "pooled"
    for row in table.to_pylist()[:6]:
        assert {image["patch"] for image in row["top_images"]} == {None}
        assert {(caption["position"], *caption["words"]) for caption in row["top_captions"]} == {(None,)}
        assert all(caption["activations"] == [] for caption in row["top_captions"])
    of_patches, of_pictures = by_latent(latents)[1], by_latent(pooled_latents)[1]
    assert [image["pair"] for image in of_pictures["top_images"]] == [
        image["pair"] for image in of_patches["top_images"]
    ]
    cats = sum(picture.noun == "cat" for picture in USED)
    assert of_pictures["vision_frequency"] == pytest.approx(cats / len(USED))


def test_terms_that_the_tokenizer_does_not_know_are_recorded_and_change_nothing_else(
    sae, cache, options, latents, tmp_path
):
    path = tmp_path / "list.txt"
    path.write_text(f"zeppelin\n{picture_world.LIST}dodo = noun:cat\n", encoding="utf-8")
    table = interpret(sae, cache, MODEL, changed(options, concepts=str(path)))
    assert table.equals(latents)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    assert (metadata["unknown_concepts"], metadata["concepts"]) == (["zeppelin", "dodo"], 9)


def test_terms_of_the_same_tokens_are_one_concept_and_recorded(sae, cache, options, latents, tmp_path):
    path = tmp_path / "list.txt"
    same = "the boat = noun:boat\nboat. = noun:boat\n red ? \n"
    path.write_text(f"{picture_world.LIST}{same}", encoding="utf-8")
    table = interpret(sae, cache, MODEL, changed(options, concepts=str(path)))
    assert table.equals(latents)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    assert metadata["repeated_concepts"] == {"the boat": "boat", "boat.": "boat", "red ?": "red"}
    assert (metadata["unknown_concepts"], metadata["concepts"]) == ([], 9)


def test_long_terms_that_differ_where_the_context_ends_are_one_concept(tmp_path):
    backbone = load_backbone(BackboneOptions(model=f"local-dir:{TINY_SIGLIP}"))
    start = "red " * backbone.context_length
    path = tmp_path / "list.txt"
    path.write_text(f"cat\n{start}boat\n{start}fish\n", encoding="utf-8")
    known = split_by_tokenizer(load_concept_list(str(path)), backbone, "{term}")
    assert known.concepts.terms == ("cat", f"{start}boat")
    assert known.repeated == {f"{start}fish": f"{start}boat"}
    with pytest.raises(ConfigError, match=r"interpret\.prompt: .* all 3 terms .* the same tokens"):
        split_by_tokenizer(load_concept_list(str(path)), backbone, f"{start}{{term}}")


def test_a_list_of_which_the_tokenizer_knows_nothing_is_refused(sae, cache, options, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("zeppelin\ndodo\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"list\.txt: the backbone's tokenizer knows none of its 2 terms"):
        interpret(sae, cache, MODEL, changed(options, concepts=str(path)))


def test_a_table_describes_the_dictionary_and_the_cache_that_it_was_made_from_and_no_others(
    latents, sae, pooled_sae, cache
):
    metadata = json.loads(latents.schema.metadata[METADATA_KEY])
    retrained = picture_world.axis_sae()
    with torch.no_grad():
        retrained.dictionary("text").decoder_bias[0] = 0.5
    assert describes(metadata, picture_world.axis_sae(), cache)
    assert not describes(metadata, retrained, cache)
    assert not describes(metadata, pooled_sae, cache)
    assert not describes(metadata | {"cache_sha256": "00" * 32}, sae, cache)
    assert not describes({}, sae, cache)
