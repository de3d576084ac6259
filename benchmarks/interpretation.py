"""How fast images are matched with a concept list: `python -m benchmarks.interpretation --json FILE`.

Synthetic codes of the size of the paper's: 196 patches, 1,536 shared latents, 1,200 concepts of 32 latents each. An
image shows 8 concepts; a patch fires latents of one of them and of the image's background. *plain* writes out the
activation map of every concept over every patch from the latents that the patches fire; *bounded* is `ConceptIndex`,
which computes the maps of those concepts only whose bound reaches the threshold. Both must find the same hits before
anything is timed. *encode* is the shared encoder on as many patches of 768 channels, *peaks* what the top images and
frequencies take.
"""

import argparse
import resource
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.measurement import Spread, interleaved, paired_ratio, seconds, write_result
from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.interpretation.matching import ConceptIndex, Hits, count_hits, reference_weights
from pipeline.interpretation.peaks import TopPeaks, image_peaks
from pipeline.metrics.heat_maps import inverse_document_frequency
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sparse.codes import SparseCodes

PATCHES, LATENTS, CONCEPTS, USED, SHOWN, BACKGROUND, CHANNELS = 196, 1536, 1200, 32, 8, 100, 768
THRESHOLD = 0.5


def random_concepts(generator: torch.Generator) -> ConceptCodes:
    """Few latents are common to many concepts and most to few, as the words of prompts have it."""
    share = torch.arange(1, LATENTS + 1) ** -0.5
    used = torch.multinomial(share.expand(CONCEPTS, -1), USED, generator=generator)
    codes = torch.zeros(CONCEPTS, LATENTS).scatter_(1, used, torch.rand(CONCEPTS, USED, generator=generator))
    return ConceptCodes(codes, inverse_document_frequency(codes))


def random_images(concepts: ConceptCodes, images: int, k: int, generator: torch.Generator) -> SparseCodes:
    """Codes of all patches: latents of the patch's concept first, then of the image's background."""
    shown = torch.randint(CONCEPTS, (images, SHOWN), generator=generator)
    background = torch.rand(images, LATENTS, generator=generator).topk(BACKGROUND).indices
    of_patch = shown.gather(1, torch.randint(SHOWN, (images, PATCHES), generator=generator)).flatten()
    scores = 0.3 * torch.rand(images * PATCHES, LATENTS, generator=generator)
    scores += concepts.codes[of_patch] > 0
    scores.view(images, PATCHES, LATENTS).scatter_add_(
        2,
        background[:, None].expand(-1, PATCHES, -1),
        torch.rand(images, PATCHES, BACKGROUND, generator=generator),
    )
    indices = scores.topk(k, dim=1).indices
    return SparseCodes(torch.rand(indices.shape, generator=generator), indices)


def match_plainly(concepts: ConceptCodes, codes: SparseCodes, images: int) -> Tensor:
    """Hits as booleans [image, concept], from every concept's map over every patch."""
    used = concepts.codes.T > 0
    concept, value = torch.nonzero(used, as_tuple=True)[1], concepts.codes.T[used]
    counts = used.sum(dim=1)
    starts = counts.cumsum(0) - counts
    latent = codes.indices.flatten()
    repeats = counts[latent]
    slot = torch.repeat_interleave(repeats)
    entry = torch.arange(len(slot)) - (repeats.cumsum(0) - repeats)[slot] + starts[latent][slot]
    overlap = torch.minimum(codes.values.flatten()[slot], value[entry]) * concepts.idf[latent][slot]
    target = slot.div(codes.values.shape[1], rounding_mode="floor") * CONCEPTS + concept[entry]
    maps = torch.zeros(len(codes.values) * CONCEPTS).index_add_(0, target, overlap)
    peaks = maps.view(images, PATCHES, CONCEPTS).amax(dim=1)
    return peaks > THRESHOLD * reference_weights(concepts, "typical")


def as_booleans(hits: Hits, images: int) -> Tensor:
    """Hits as booleans [image, concept]."""
    found = torch.zeros(images, CONCEPTS, dtype=torch.bool)
    found[hits.image, hits.concept] = True
    return found


def peak_mebibytes() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Measured(NamedTuple):
    """Milliseconds per image by what takes them and by round, all hits, and MiB that repeating it takes in addition."""

    milliseconds: dict[str, list[float]]
    hits: int
    memory_growth: float


def measure(images: int, k: int, rounds: int) -> Measured:
    """Time the parts of a pass over random images, whose hits are compared with those of all maps first."""
    generator = torch.Generator().manual_seed(0)
    concepts = random_concepts(generator)
    codes = random_images(concepts, images, k, generator)
    index, top = ConceptIndex(concepts, "typical"), TopPeaks(LATENTS, 12, torch.device("cpu"))
    sae = LucidSAE(LucidOptions(latents=4 * LATENTS, shared_ratio=0.25, k_shared=k), CHANNELS, CHANNELS)
    tokens = torch.randn(images * PATCHES, CHANNELS, generator=generator)
    peaks = image_peaks(codes, images, LATENTS)
    hits = index.match(codes, peaks.activation, THRESHOLD)
    if not as_booleans(hits, images).equal(match_plainly(concepts, codes, images)):
        raise SystemExit("the bounded hits are not the plain ones")

    def encode() -> None:
        with torch.inference_mode():
            sae.encode("vision", tokens, "shared")

    def match() -> None:
        count_hits(index.match(codes, peaks.activation, THRESHOLD), LATENTS, CONCEPTS)

    def find_peaks() -> None:
        top.add(image_peaks(codes, images, LATENTS), torch.arange(images))

    before = peak_mebibytes()
    for _ in range(2 * rounds):
        match()
        find_peaks()
    grown = peak_mebibytes() - before
    work = {
        "encode": encode,
        "match, bounded": match,
        "match, plain": partial(match_plainly, concepts, codes, images),
        "peaks": find_peaks,
    }
    times = interleaved(
        {name: lambda part=part: 1e3 * seconds(part) / images for name, part in work.items()}, rounds
    )
    return Measured(times, len(hits.image), grown)


def main(command_line: list[str] | None = None) -> None:
    """Measure; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(1)
    measured = measure(arguments.images, arguments.k, arguments.rounds)
    times = measured.milliseconds
    write_result(
        arguments,
        "benchmarks.interpretation",
        ratios={"match_speedup": paired_ratio(times["match, plain"], times["match, bounded"])},
        measured={name: Spread.of(values, "ms per image") for name, values in times.items()},
        conditions={
            "images": arguments.images,
            "patches": PATCHES,
            "latents": LATENTS,
            "k": arguments.k,
            "concepts": CONCEPTS,
            "latents_per_concept": USED,
            "hits_per_image": round(measured.hits / arguments.images, 1),
            "peak_memory_growth_mib": round(measured.memory_growth, 1),
            "rounds": arguments.rounds,
        },
        packages=("torch",),
    )


if __name__ == "__main__":
    main()
