"""Every figure of `metrics.json` that tables show, described once: evaluation, report, figures and study read it here.

A figure is added by one record in this file, next to the meter of `pipeline/metrics` that measures it; those of true
concepts stand in `concept_figures.py`.
"""

from pipeline.results.concept_figures import DETECTION, NAMES, PROBES, RECOVERY, RECOVERY_BY_KIND
from pipeline.results.figure import Better, Figure, Section

PAPER = "LUCID-SAE (arXiv 2602.07311), COCO 2017, SigLIP ViT-B/16"
"""Where the figures beside these runs' come from: tables 2, 3, 4 and 6."""

RECONSTRUCTION = Section(
    "Reconstruction",
    "R² on the pairs that were evaluated: the share of the activations' variance that the codes give back (paper's "
    "tables 2 and 6); 0 is as good as the activations' mean, below 0 is worse. Cross means that one side is "
    "rebuilt from the other side's shared codes through the transport plan; leak is what full codes add to that.",
    (
        Figure("reconstruction.vision.full_joint", "Vision, shared + private", "higher", "V self", {"lucid": 0.4606}),
        Figure("reconstruction.vision.full_global", "Vision, one global Top-K", "higher", "V self",
               {"shared_only": 0.4045}),
        Figure("reconstruction.vision.shared", "Vision, shared only", "higher", "V shared", {"lucid": 0.2705}),
        Figure("reconstruction.vision.private", "Vision, private only", "", "", {"lucid": 0.2445}),
        Figure("reconstruction.text.full_joint", "Text, shared + private", "higher", "T self", {"lucid": 0.6684}),
        Figure("reconstruction.text.full_global", "Text, one global Top-K", "higher", "T self",
               {"shared_only": 0.5737}),
        Figure("reconstruction.text.shared", "Text, shared only", "higher", "T shared", {"lucid": 0.5088}),
        Figure("reconstruction.text.private", "Text, private only", "", "", {"lucid": 0.2550}),
        Figure("reconstruction.text_to_vision.shared", "Vision from text, shared", "higher", "V cross (T→V)",
               {"lucid": 0.1171}),
        Figure("reconstruction.text_to_vision.full", "Vision from text, full", "", "",
               {"shared_only": 0.0552, "lucid": 0.1131}),
        Figure("reconstruction.text_to_vision.leak", "Vision from text, leak", "", "V leak"),
        Figure("reconstruction.vision_to_text.shared", "Text from vision, shared", "higher", "T cross (V→T)",
               {"lucid": 0.4055}),
        Figure("reconstruction.vision_to_text.full", "Text from vision, full", "", "",
               {"shared_only": 0.3220, "lucid": 0.3971}),
        Figure("reconstruction.vision_to_text.leak", "Text from vision, leak", "", "T leak"),
    ),
)  # fmt: skip

POSITION = Section(
    "Reconstruction beyond position",
    "The same R² against the mean of every position instead of the mean of all. Where a patch or a token stands "
    "explains much of it alone (position alone, against the mean of all), and 0 is as good as knowing only that: a "
    "crossing below 0 carries less than the position would. A dictionary of pooled embeddings knows no positions.",
    (
        *(
            Figure(
                figure.key.replace("reconstruction", "reconstruction.positional"),
                f"{figure.label}, beyond position",
                figure.better,
                f"{figure.column}, beyond position"
                if "self" in figure.column or "cross" in figure.column
                else "",
            )
            for figure in RECONSTRUCTION.figures
        ),
        Figure("reconstruction.position.vision", "Vision, position alone", ""),
        Figure("reconstruction.position.text", "Text, position alone", ""),
    ),
)

GROUNDING = Section(
    "Grounding",
    "Does the heat map of a named object lie on that object? (Paper's table 3.) Mass@obj is the share of the heat "
    "inside the object's box, point@1 how often the hottest patch is, IoU@10 the overlap of the hottest tenth. Two "
    "heat maps are measured, the transport plan's and the codes'.",
    (
        Figure("grounding.transport.mass_at_object", "mass@obj, transport", "higher", "mass@obj",
               {"ot_only": 0.4020, "share_k": 0.4039, "share_k_gsl": 0.4097, "lucid": 0.4106}),
        Figure("grounding.transport.point_at_1", "point@1, transport", "higher", "point@1",
               {"ot_only": 0.4730, "share_k": 0.5501, "share_k_gsl": 0.5578, "lucid": 0.6002}),
        Figure("grounding.transport.iou_at_10", "IoU@10, transport", "higher", "IoU@10",
               {"ot_only": 0.2746, "share_k": 0.2800, "share_k_gsl": 0.2913, "lucid": 0.2984}),
        Figure("grounding.code.mass_at_object", "mass@obj, code"),
        Figure("grounding.code.point_at_1", "point@1, code", column="point@1, code"),
        Figure("grounding.code.iou_at_10", "IoU@10, code"),
    ),
)  # fmt: skip

CONTROLS = Section(
    "Grounding controls",
    "What the same measures give without a dictionary's knowledge: a uniform map, the frozen backbone's own "
    "patch-to-text cosine, and the map of an object that the picture does not show (swapped). Point@1 that is left "
    "under swapped is saliency, not grounding.",
    tuple(
        Figure(f"grounding.{control}.{measure}", f"{label}, {control}", "", column)
        for control in ("uniform", "backbone", "swapped")
        for measure, label, column in (
            ("mass_at_object", "mass@obj", ""),
            ("point_at_1", "point@1", f"point@1, {control}"),
            ("iou_at_10", "IoU@10", ""),
        )
    ),
)

DEGENERACY = Section(
    "Degeneracy",
    "How often the busiest shared latent fires (maxfreq; paper's table 4). A latent that fires for everything "
    "means nothing; where nothing fires, it is 0. Dead latents never fire on the pairs that were evaluated.",
    (
        Figure("degeneracy.text_to_image", "maxfreq, text to image", "lower", "maxfreq t2i",
               {"ot_only": 0.7958, "share_k": 0.6516, "share_k_gsl": 0.4590, "lucid": 0.3538}),
        Figure("degeneracy.image_to_text", "maxfreq, image to text", "lower", "maxfreq i2t",
               {"ot_only": 0.3810, "share_k": 0.2055, "share_k_gsl": 0.1240, "lucid": 0.0740}),
        Figure("degeneracy.dead_shared.vision", "Dead shared latents, vision", "lower", "dead shared V"),
        Figure("degeneracy.dead_shared.text", "Dead shared latents, text", "lower", "dead shared T"),
        Figure("degeneracy.dead_private.vision", "Dead private latents, vision", "lower"),
        Figure("degeneracy.dead_private.text", "Dead private latents, text", "lower"),
    ),
)  # fmt: skip

ALIGNMENT = Section(
    "Alignment of the sides",
    "As VL-SAE measures it: do the images and the captions that fire a latent most mean the same to a judge "
    "(intra), and different things for different latents (inter)? And do the codes of a pair's two sides look "
    "more alike than those of two pairs? AUC is how often they do.",
    (
        Figure("alignment.intra_similarity", "Same latent, images to captions", column="intra"),
        Figure("alignment.inter_similarity", "Different latents, images to captions", "lower", "inter"),
        Figure("alignment.alive", "Latents alive on both sides", "", "fire on both sides"),
        Figure("consistency.auc", "Pairs told from non-pairs, AUC", column="AUC"),
        Figure("consistency.matched", "Cosine of a pair's codes", "", "matched"),
        Figure("consistency.mismatched", "Cosine of other codes", "", "mismatched"),
        Figure("consistency.jaccard.matched", "Active latents in common, pairs", column="Jaccard"),
        Figure("consistency.jaccard.mismatched", "Active latents in common, others", "", "Jaccard, mismatched"),
    ),
)  # fmt: skip

_RETRIEVED: tuple[tuple[str, str, Better], ...] = (
    ("recall_at_1", "R@1", "higher"),
    ("recall_at_5", "R@5", "higher"),
    ("recall_at_10", "R@10", "higher"),
    ("tied", "Ties", "lower"),
)

RETRIEVAL = Section(
    "Retrieval by codes",
    "Is a caption's own picture nearest to it among all pictures that were evaluated (text to image), and the reverse, "
    "by the cosine of their shared codes, as they are or less the side's mean over training pairs (centred)? Recall@K "
    "(R@K) is how often it is among the K nearest; whatever scores the same counts as nearer, and ties says how much "
    "does. The backbone's pooled embeddings are the ceiling.",
    tuple(
        Figure(
            f"retrieval.{compared}.{direction}.{measure}",
            f"{label}, {direction.replace('_', ' ')}, {compared}",
            better,
            f"{label} {short}{of}" if measure == "recall_at_1" else "",
        )
        for compared, of in (("codes", ", raw"), ("centred", ""), ("backbone", ", backbone"))
        for direction, short in (("text_to_image", "t2i"), ("image_to_text", "i2t"))
        for measure, label, better in _RETRIEVED
    ),
)

_KINDS_OF_FACTS = ("noun", "colour", "size", "setting", "count", "relation", "action")

CHANGED_CAPTIONS = Section(
    "Captions with one fact changed",
    "How often a picture of the embedded world is nearer to its own caption than to the same caption with one fact "
    "made false, a colour or a count; a tie is wrong, and a guess is right half of the time. Compared is what "
    "retrieval compares. Measured if `evaluate.changed_captions` asks for it.",
    (
        Figure("changed_captions.codes.all", "Own caption preferred, codes"),
        Figure("changed_captions.centred.all", "Own caption preferred, centred", column="own caption"),
        *(
            Figure(f"changed_captions.centred.by_kind.{kind}", f"Changed {kind}, centred", column=kind)
            for kind in _KINDS_OF_FACTS
        ),
        Figure("changed_captions.backbone.all", "Own caption preferred, backbone", "", "backbone"),
        *(
            Figure(f"changed_captions.backbone.by_kind.{kind}", f"Changed {kind}, backbone", "")
            for kind in _KINDS_OF_FACTS
        ),
    ),
)

LATENTS = Section(
    "Single latents",
    "Monosemanticity is how alike the items are that fire a latent, a mean cosine weighted by how much they fire it: "
    "pictures among themselves, captions among themselves, and pictures with captions. The true concepts judge where "
    "the samples state them, else the judge of the alignment; even is what a latent without a meaning of its own "
    "has. Modality says of how many latents one side has more than 95 % of the energy.",
    (
        Figure("monosemanticity.vision", "Monosemanticity, pictures", column="MS V"),
        Figure("monosemanticity.even.vision", "Monosemanticity, pictures, even", ""),
        Figure("monosemanticity.text", "Monosemanticity, captions", column="MS T"),
        Figure("monosemanticity.even.text", "Monosemanticity, captions, even", ""),
        Figure("monosemanticity.both", "Monosemanticity, pictures with captions", column="MMS"),
        Figure("monosemanticity.even.both", "Monosemanticity, pictures with captions, even", ""),
        Figure("modality.bimodal", "Latents of both sides, share", column="bimodal"),
        Figure("modality.vision", "Latents of pictures alone, share", ""),
        Figure("modality.text", "Latents of captions alone, share", ""),
        Figure("modality.spread", "Spread of the modality score", ""),
    ),
)  # fmt: skip

EDITS = Section(
    "Edits",
    "In a picture of the embedded world the latent that a changed caption lacks is exchanged for the one that it has "
    "more of. Cause is how often the picture then is nearer to the changed caption, isolate how often no caption in "
    "which another fact was changed has come nearer; the new latent fires 1 or 4 times as strongly. Control exchanges "
    "latents drawn at random. Measured if `evaluate.changed_captions` asks for it.",
    tuple(
        Figure(
            f"edits.strength_{strength}.{control}{score}",
            f"{score.capitalize()}, strength {strength}{', control' if control else ''}",
            "" if control else "higher",
            f"{score} x{strength}{', control' if control else ''}",
        )
        for strength in (1, 4)
        for control in ("", "control.")
        for score in ("cause", "isolate")
    ),
)

STABILITY = Section(
    "Seed stability",
    "In what share of trainings from other seeds is a latent found again, by a direction of its decoder with a cosine "
    "above .7? On both sides: one latent of the other training has the directions of pictures and of captions. Rare "
    "latents fire on at most 1 % of the pictures (or captions), frequent ones on more than 10 %. Measured by "
    "`concord stability`.",
    (
        Figure("stability.vision.decoder.found", "Found again, pictures", column="found V"),
        Figure("stability.text.decoder.found", "Found again, captions", column="found T"),
        Figure("stability.both.decoder.found", "Found again, on both sides", column="found, both"),
        Figure("stability.both.decoder.rare", "Found again, on both sides, rare"),
        Figure("stability.both.decoder.occasional", "Found again, on both sides, occasional"),
        Figure("stability.both.decoder.frequent", "Found again, on both sides, frequent"),
        Figure("stability.both.encoder.found", "Found again, on both sides, encoder"),
    ),
)

SECTIONS = (
    RECONSTRUCTION,
    POSITION,
    GROUNDING,
    CONTROLS,
    DEGENERACY,
    ALIGNMENT,
    RETRIEVAL,
    CHANGED_CAPTIONS,
    LATENTS,
    EDITS,
    RECOVERY,
    RECOVERY_BY_KIND,
    DETECTION,
    PROBES,
    NAMES,
    STABILITY,
)
"""In the order in which they are shown."""
