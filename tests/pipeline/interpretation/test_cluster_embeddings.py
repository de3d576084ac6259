"""Terms are embedded for clustering by the backbone, or by a real sentence encoder where that is installed."""

import json
import sys

import picture_world
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.interpretation.cluster_embeddings import cluster_embeddings

MODEL = picture_world.WordModel()


def test_the_backbone_embeds_terms_by_themselves_in_any_batches():
    terms = ("boat", "ship", "cat")
    whole = cluster_embeddings(terms, "backbone", MODEL)
    assert whole.equal(cluster_embeddings(terms, "backbone", MODEL, batch_terms=1))
    assert whole[0].equal(whole[1])
    assert whole[0] @ whole[2] == 0


def test_a_sentence_encoder_that_is_not_installed_is_refused_naming_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if it were not
    with pytest.raises(
        ConfigError, match=r"needs the package sentence-transformers.*concord-sae\[sentences\]"
    ):
        cluster_embeddings(("boat",), "all-MiniLM-L6-v2", MODEL)


def test_a_sentence_encoder_that_brings_code_is_refused_before_it_could_run(tmp_path):
    modules = [{"type": "sentence_transformers.models.Pooling"}, {"type": "mine.Encoder"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"'mine.Encoder'.*never run"):
        cluster_embeddings(("boat",), str(tmp_path), MODEL)


@pytest.fixture(scope="module")
def bag_of_words(tmp_path_factory):
    """A real sentence-transformers model on disk, one dimension per word."""
    library = pytest.importorskip("sentence_transformers", reason="the extra `sentences` is not installed")
    modules = pytest.importorskip("sentence_transformers.models")
    folder = tmp_path_factory.mktemp("sentences") / "bag-of-words"
    library.SentenceTransformer(modules=[modules.BoW(vocab=["red", "boat", "cat"])], device="cpu").save(
        str(folder)
    )
    return folder


def test_a_sentence_encoder_embeds_terms_instead_of_the_backbone(bag_of_words):
    embeddings = cluster_embeddings(("red boat", "boat", "cat"), str(bag_of_words), MODEL)
    cosines = torch.nn.functional.cosine_similarity(embeddings[1:], embeddings[:1])
    torch.testing.assert_close(cosines, torch.tensor([2**-0.5, 0.0]))


def test_a_folder_without_a_model_is_refused(bag_of_words, tmp_path):
    with pytest.raises(ConfigError, match="neither 'backbone' nor a sentence-transformers model"):
        cluster_embeddings(("boat",), str(tmp_path), MODEL)
