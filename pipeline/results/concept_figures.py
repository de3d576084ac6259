"""Figures of the catalogue that hold latents and their names against true concepts."""

from pipeline.results.figure import Better, Figure, Section

RECOVERY = Section(
    "Concept recovery",
    "The samples state their true concepts, so recovery can be measured, as average precision: how well one latent "
    "tells both the pictures and the captions that have a concept from those that do not, by the worse of its two "
    "sides (joint recovery); for how many concepts a latent is within 0.05 of the best of both sides (near the best), "
    "and of these better on both than any is by chance, since latents that find nothing are near each other; "
    "how well the best latent of each side does (recovery), and the one that is best on the other side (transfer). "
    "Chance is what shuffled labels give, and for transfer a latent taken blindly. This is not in the paper.",
    (
        Figure("concepts.joint.mean", "Joint recovery", column="joint"),
        Figure("concepts.joint.chance", "Joint recovery, chance", ""),
        Figure("concepts.near.beyond_chance", "Near the best on both sides beyond chance, concepts", column="near"),
        Figure("concepts.near.count", "Near the best on both sides, concepts"),
        Figure("concepts.near.share", "Near the best on both sides, share"),
        Figure("concepts.near.chance", "Near the best on both sides, share, chance", ""),
        Figure("concepts.concepts", "Concepts asked for", "", "asked"),
        Figure("concepts.recovery.vision", "Recovery in pictures", column="recovery V"),
        Figure("concepts.chance.vision", "Recovery in pictures, chance", ""),
        Figure("concepts.recovery.text", "Recovery in captions", column="recovery T"),
        Figure("concepts.chance.text", "Recovery in captions, chance", ""),
        Figure("concepts.same_latent.share", "Same latent best on both sides, share"),
        Figure("concepts.same_latent.count", "Same latent best on both sides, concepts"),
        Figure("concepts.transfer.text_to_vision", "Best in captions, used in pictures"),
        Figure("concepts.transfer_share.text_to_vision", "The same over recovery", column="transfer T→V"),
        Figure("concepts.transfer_share.chance_text_to_vision", "The same over recovery, chance", ""),
        Figure("concepts.transfer.vision_to_text", "Best in pictures, used in captions"),
        Figure("concepts.transfer_share.vision_to_text", "That over recovery", column="transfer V→T"),
        Figure("concepts.transfer_share.chance_vision_to_text", "That over recovery, chance", ""),
        Figure("concepts.patch_ap.mean", "Patches of the concept", column="patch AP"),
        Figure("concepts.patch_ap.prevalence", "Patches of the concept, prevalence", ""),
    ),
)  # fmt: skip

_KINDS = ("noun", "setting", "action", "size", "colour", "count", "relation")
"""Of concepts of the embedded world, from those that dictionaries find to those that they miss."""

RECOVERY_BY_KIND = Section(
    "Concept recovery by kind",
    "Joint recovery and the concepts near the best beyond chance, as above, by kind of concept.",
    tuple(
        Figure(f"concepts.{part}.by_kind.{kind}", f"{label}, {kind}", column=f"{kind}{of}")
        for part, label, of in (("joint", "Joint recovery", ""), ("near", "Near the best", ", near"))
        for kind in _KINDS
    ),
)

_DETECTED: tuple[tuple[str, str, Better], ...] = (
    ("latents", "Latents that stand for a concept", ""),
    ("concepts", "Concepts that latents stand for", "higher"),
    ("latents_per_concept", "Latents per concept", "lower"),
    ("concepts_per_latent", "Concepts per latent", "lower"),
    ("uniqueness", "Different concepts per latent", "higher"),
)

DETECTION = Section(
    "Latents as detectors",
    "F1 where a latent says yes by firing at all, of the best latent for each concept. A latent stands for a concept "
    "if its average precision is more than half way from the concept's prevalence to 1; both means on both sides at "
    "once. MCC is the mean cosine of decoder directions with the concepts' differences of means, matched one to one. "
    "Absorption is how often a concept's latent is silent where that of a narrower concept fires (sailing: a boat "
    "always), beside how often it is silent on the wider concept alone. Chance is what shuffled labels give.",
    (
        Figure("concepts.f1.joint", "F1 of the best latent, worse side", column="F1 joint"),
        Figure("concepts.f1.chance.joint", "F1 of the best latent, worse side, chance", ""),
        *(
            figure
            for side, place, letter in (("vision", "pictures", "V"), ("text", "captions", "T"))
            for figure in (
                Figure(f"concepts.f1.{side}", f"F1 of the best latent, {place}", column=f"F1 {letter}"),
                Figure(f"concepts.f1.chance.{side}", f"F1 of the best latent, {place}, chance", ""),
                Figure(f"concept_directions.{side}", f"MCC, {place}", column=f"MCC {letter}"),
                Figure(f"concept_directions.chance.{side}", f"MCC, {place}, chance", ""),
                Figure(f"concepts.absorption.{side}", f"Absorption, {place}", "lower", f"absorption {letter}"),
                Figure(f"concepts.absorption.control.{side}", f"Silent on the wider concept alone, {place}", "lower"),
            )
        ),
        Figure("concepts.absorption.pairs", "Concepts with a wider one", ""),
        *(
            Figure(
                f"concepts.splitting.{side}.{measure}", f"{label}, {place}", better, label if side == "both" else ""
            )
            for side, place in (("both", "both sides"), ("vision", "pictures"), ("text", "captions"))
            for measure, label, better in _DETECTED
        ),
    ),
)  # fmt: skip

_READ = {"k1": "1 latent", "k2": "2 latents", "k5": "5 latents", "dense": "All latents"}

PROBES = Section(
    "Probes of shared codes",
    "Average precision of logistic probes of the true concepts that read 1, 2, 5 or all shared latents, fitted on "
    "training pairs: on their own side, and on the other side through the latents of the same numbers (captions to "
    "pictures: fitted on captions, scored on pictures). Measured if `evaluate.probes` asks for it.",
    (
        *(
            Figure(f"probes.{size}.{key}", f"{latents}, {place}", column=f"{size} {letter}")
            for size, latents in _READ.items()
            for key, place, letter in (
                ("vision", "pictures", "V"),
                ("text", "captions", "T"),
                ("text_to_vision", "captions to pictures", "T→V"),
                ("vision_to_text", "pictures to captions", "V→T"),
            )
        ),
        Figure("probes.chance.vision", "Prevalence in pictures", ""),
        Figure("probes.chance.text", "Prevalence in captions", ""),
    ),
)

NAMES = Section(
    "Names of shared latents",
    "Names held against the true concepts. The report shows them by kind of concept instead of in rows.",
    (
        Figure("interpretation.named", "", column="named"),
        Figure("interpretation.correct", "", column="names right"),
        Figure("interpretation.share", "", column="share right"),
        Figure("interpretation.distinct_concepts", "", column="distinct concepts"),
        Figure("interpretation.distinct_names", "", column="distinct names"),
        Figure("interpretation.correct_in_captions", "", column="right about captions"),
        Figure("interpretation.same_on_both_sides", "", column="same concept on both sides"),
        Figure("interpretation.image_level.named", "", column="image-level named"),
        Figure("interpretation.image_level.correct", "", column="image-level names right"),
        Figure("interpretation.image_level.share", "", column="share of those right"),
        Figure("interpretation.together.correct", "", column="names right, both"),
        Figure("interpretation.together.distinct_concepts", "", column="distinct concepts, both"),
    ),
)  # fmt: skip
