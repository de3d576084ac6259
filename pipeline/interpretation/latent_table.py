"""The table `latents.parquet`: one row per shared latent, with all that a page about it needs besides the pictures.

The rows of image-level latents, where a dictionary has some, come last.

Under the key `concord` the schema's metadata holds JSON: `inputs` of the dictionary ("tokens" or "pooled") and its
`dictionary_sha256`; what was read: `cache_sha256`, `split`, numbers of `images` and `captions`; `options`;
`concept_list` (name and sha256), `concepts` (how many were matched), `unknown_concepts` (left out, as the tokenizer
does not know them), `repeated_concepts` (left out, as they are the same tokens as an earlier term, their value) and
`silent_concepts` (no shared latent expresses them); `score`, as `score_names` gives it, null without ground truth;
`true_concepts` of the named latents by number, as `true_concepts` gives them.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float

from cache import ActivationCache, shown_text
from pipeline.backbone.spelling import Word, over_words
from pipeline.errors import RunError
from pipeline.interpretation.peaks import TopPeaks
from pipeline.runs.files import replace_file
from pipeline.runs.seal import SEAL_KEY, UNSEALED, check_seal, sealed

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone
    from pipeline.interpretation.levels import Level

LATENTS_FILE = "latents.parquet"
METADATA_KEY = b"concord"
_SEAL_KEY = SEAL_KEY.encode()
_REMEDY = "run `concord interpret` again"

LATENT_SCHEMA = pa.schema(
    [
        # Column of the shared dictionary, 0 .. shared_width - 1; of an image-level latent that of the private latent of
        # text which it is in captions.
        ("latent", pa.int32()),
        # Of an image-level latent: how well a picture's score tells the largest code of its captions, the correlation
        # on training pairs. Null for every other.
        ("confidence", pa.float32()),
        # Most frequent term of the largest cluster; null without a hit. It counts as a name only where `named`.
        ("name", pa.string()),
        ("named", pa.bool_()),
        # Share of the hits that fall in the largest cluster; null without a hit.
        ("purity", pa.float64()),
        # Pairs of (image, concept) that the latent dominates.
        ("hits", pa.int64()),
        # Largest first; terms with most hits first.
        (
            "clusters",
            pa.list_(
                pa.struct(
                    [
                        ("hits", pa.int64()),
                        ("terms", pa.list_(pa.struct([("term", pa.string()), ("hits", pa.int64())]))),
                    ]
                )
            ),
        ),
        # Share of all patches (tokens) that fire the latent; of all images where the dictionary, or the latent, reads
        # whole images.
        ("vision_frequency", pa.float64()),
        ("text_frequency", pa.float64()),
        # Strongest first; `patch` is the peak patch, counted along rows of the patch grid; null where whole images are
        # read: by a dictionary whose `inputs` is "pooled", and by image-level latents.
        (
            "top_images",
            pa.list_(
                pa.struct(
                    [
                        ("pair", pa.int64()),
                        ("file", pa.string()),
                        ("patch", pa.int32()),
                        ("activation", pa.float32()),
                    ]
                )
            ),
        ),
        # Strongest first. `words` are neighbouring `tokens` (how many) decoded together: `spaced` ones follow a space,
        # `special` ones stand for no text. `position` is the word with the peak token, and `activations` has the
        # latent's largest value in each word. Where the dictionary reads whole captions, `position` is null and the
        # two lists are empty.
        (
            "top_captions",
            pa.list_(
                pa.struct(
                    [
                        ("pair", pa.int64()),
                        ("caption", pa.string()),
                        ("position", pa.int32()),
                        ("activation", pa.float32()),
                        (
                            "words",
                            pa.list_(
                                pa.struct(
                                    [
                                        ("text", pa.string()),
                                        ("spaced", pa.bool_()),
                                        ("special", pa.bool_()),
                                        ("tokens", pa.int32()),
                                    ]
                                )
                            ),
                        ),
                        ("activations", pa.list_(pa.float32())),
                    ]
                )
            ),
        ),
    ]
)


def write_latents(path: Path, latents: pa.Table) -> None:
    """Replace `path` by the table that `interpret` made, as a Parquet file with a checksum of itself.

    Raises:
        RunError: the file cannot be written.
    """
    metadata = {**latents.schema.metadata, _SEAL_KEY: UNSEALED.encode()}
    content = io.BytesIO()
    pq.write_table(latents.replace_schema_metadata(metadata), content)
    replace_file(path, sealed(content.getvalue()))


def read_latents(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The table at `path` and the metadata that `interpret` recorded in it.

    Raises:
        RunError: the file is not one that `write_latents` wrote, or its columns are other ones.
    """
    check_seal(path, _REMEDY)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{path}: not a readable Parquet file ({shown_text(error)}); {_REMEDY}") from None
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None or not table.schema.equals(LATENT_SCHEMA):
        raise RunError(f"{path}: not a table of latents of this version; {_REMEDY}")
    return table, json.loads(metadata)


def image_records(level: "Level", cache: ActivationCache, top: TopPeaks) -> list[list[dict[str, object]]]:
    """The rows of `top_images`, per latent."""
    file = cache.read_pair_samples(["file"])["file"].to_pylist()
    return [
        [
            {
                "pair": pair,
                "file": file[pair],
                "patch": patch if level.has_places else None,
                "activation": activation,
            }
            for pair, patch, activation in top.ranked(latent)
        ]
        for latent in range(len(top.item))
    ]


def caption_records(
    level: "Level",
    cache: ActivationCache,
    backbone: "Backbone",
    top: TopPeaks,
    batch_pairs: int = 256,
) -> list[list[dict[str, object]]]:
    """The rows of `top_captions`, per latent; reads just these captions once more for their words."""
    caption = cache.read_pair_samples(["caption"])["caption"].to_pylist()
    ranked = [top.ranked(latent) for latent in range(len(top.item))]
    if not level.sae.reader.knows_places:
        whole: dict[str, object] = {"position": None, "words": [], "activations": []}
        return [
            [
                {"pair": pair, "caption": caption[pair], "activation": value, **whole}
                for pair, _, value in ranks
            ]
            for ranks in ranked
        ]
    latents_of_pair: dict[int, list[int]] = {}
    for latent, ranks in enumerate(ranked):
        for pair, _, _ in ranks:
            latents_of_pair.setdefault(pair, []).append(latent)
    words: dict[int, list[Word]] = {}
    activations: dict[tuple[int, int], list[float]] = {}
    chosen = sorted(latents_of_pair)
    for start in range(0, len(chosen), batch_pairs):
        for pair, of_pair, codes in _read_captions(
            level, cache, backbone, chosen[start : start + batch_pairs]
        ):
            words[pair] = of_pair
            for latent in latents_of_pair[pair]:
                activations[pair, latent] = codes[latent].tolist()
    return [
        [
            {
                "pair": pair,
                "caption": caption[pair],
                "position": next(place for place, word in enumerate(words[pair]) if position in word.tokens),
                "activation": activation,
                "words": [word._asdict() | {"tokens": len(word.tokens)} for word in words[pair]],
                "activations": activations[pair, latent],
            }
            for pair, position, activation in ranks
        ]
        for latent, ranks in enumerate(ranked)
    ]


def _read_captions(
    level: "Level", cache: ActivationCache, backbone: "Backbone", pairs: list[int]
) -> Iterator[tuple[int, list[Word], Float[np.ndarray, "latent word"]]]:
    """Each pair with its caption's words and the largest code in each."""
    batch = cache.read_pairs(np.array(pairs))
    with torch.inference_mode():
        rows = level.sae.reader.pairs(batch).rows("text").to(level.device)
        dense = level.of_tokens(rows).dense(len(level)).T.cpu().numpy()
    offsets = batch.text_offsets.tolist()
    for row, pair in enumerate(pairs):
        tokens = slice(offsets[row], offsets[row + 1])
        words = backbone.spelling(batch.token_ids[tokens]).words()
        yield pair, words, over_words(np.maximum, dense[:, tokens], words)
