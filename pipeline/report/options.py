"""What the report shows, and how much of it."""

from pydantic import Field

from pipeline.config import Options


class ReportOptions(Options):
    """How much of the runs goes on pages. The defaults keep a report of the embedded world under 15 MB."""

    title: str = Field("Concord", min_length=1, description="heading of the first page")
    variant: str = Field("lucid", min_length=1, description="the variant that the first page is about")
    latents: int = Field(
        256, ge=0, description="latents of `variant` with a page of their own at most; named ones come first"
    )
    other_latents: int = Field(64, ge=0, description="latents of each other variant with a page at most")
    images: int = Field(
        9, ge=1, description="top images on a latent's page (never more than `interpret` kept)"
    )
    captions: int = Field(
        12, ge=1, description="top captions on a latent's page (never more than `interpret` kept)"
    )
    neighbours: int = Field(6, ge=0, description="nearest latents on a latent's page")
    gallery_images: int = Field(3, ge=1, description="images of each concept in the gallery")
    ood_split: str = Field(
        "ood",
        description="a second split, shown beside the interpreted one; in the embedded world unseen combinations",
    )
    ood_images: int = Field(4, ge=0, description="images of that split on a latent's page")
    ood_pairs: int = Field(2000, ge=1, description="images of that split that are searched, evenly spaced")
    compared_pairs: int = Field(24, ge=0, description="pairs that are shown under every variant")
    picture_pixels: int = Field(256, ge=32, le=2048, description="longest side of the pictures")
    picture_quality: int = Field(80, ge=1, le=100, description="WebP quality of the pictures")
