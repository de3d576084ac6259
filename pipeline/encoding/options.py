"""The options of stage one."""

from typing import Self

from pydantic import Field, model_validator

from cache import StorageCodec, StorageDtype, refuse_codec
from pipeline.config import Options


class EncodeOptions(Options):
    """How stage one works. Another `batch_size` may change the last bits of activations, so it is part of a cache's
    identity, as what says how they are stored is; `decode_workers` decides nothing.
    """

    batch_size: int = Field(default=64, gt=0, description="images, and captions, in one forward pass")
    storage_dtype: StorageDtype = Field(default="float16", description="dtype in the cache")
    codec: StorageCodec = Field(
        default="none", description="what makes tokens in the cache smaller; bitround loses some of each"
    )
    shard_images: int = Field(
        default=1024, gt=0, le=1 << 24, description="images in a shard, the unit of writing and resuming"
    )
    decode_workers: int | None = Field(
        default=None,
        gt=0,
        description="threads that decode and preprocess images; null is one for every core that the backbone leaves: "
        "more would slow it down",
    )

    @model_validator(mode="after")
    def _codec_takes_the_dtype(self) -> Self:
        refuse_codec(self.codec, self.storage_dtype)
        return self
