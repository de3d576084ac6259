"""The manifest: what a cache holds and which backbone, data set and layout it came from."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from cache.errors import CacheFormatError, CacheIdentityError
from cache.format.storage_options import StorageCodec, StorageDtype, refuse_codec
from cache.shown import shown_text, shown_value

FORMAT = "concord-activation-cache"
VERSION = 2

LARGEST_ROW = 1 << 28
"""Most values of one row of an array: a gigabyte in float32."""

LARGEST_SHARD = 1 << 24
"""Most chunks of one shard of an array: an index of 256 MB."""


_NAMED_KEYS = 20
"""Differing keys that a message names."""


class Manifest(BaseModel):
    """The identity and the dimensions of one cache, plain JSON, with neither clock nor host in it.

    Two manifests that are equal describe the same cache; every array's shape follows from them.

    Raises:
        CacheFormatError: another format or version, or dimensions that contradict each other.
        pydantic.ValidationError: a missing, misspelt or mistyped field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: str = FORMAT
    version: int = VERSION
    backbone: dict[str, JsonValue] = Field(description="identity of the frozen model, opaque to the cache")
    dataset: dict[str, JsonValue] = Field(description="name, split, root, fingerprint, ... of the data set")
    storage_dtype: StorageDtype = Field("float16", description="dtype of the stored activations")
    codec: StorageCodec = Field(
        default="none", description="what makes stored tokens smaller; left out of the JSON if none"
    )
    images: int = Field(gt=0, description="image rows, skipped images included")
    captions: int = Field(ge=0, description="captions of all images, skipped captions included")
    patches: int = Field(gt=0, description="patch tokens of one image")
    grid: tuple[int, int] = Field(description="rows and columns of the patch grid; rows * columns = patches")
    vision_channels: int = Field(gt=0)
    text_channels: int = Field(gt=0)
    embedding: int = Field(gt=0, description="width of the pooled embeddings of both sides")
    context_length: int = Field(gt=0, description="most tokens that one caption can have")
    shard_images: int = Field(1024, gt=0, description="image rows of one shard; the last may have fewer")
    shard_captions: tuple[int, ...] = Field(
        (), description="captions of each shard; left out, every image has exactly one caption"
    )
    versions: dict[str, str] = Field(default_factory=dict, description="versions of the software used")

    @model_validator(mode="before")
    @classmethod
    def _one_caption_per_image(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("shard_captions"):
            return values
        images, captions = values.get("images"), values.get("captions")
        shard_images = values.get("shard_images", cls.model_fields["shard_images"].default)
        if images != captions or not isinstance(images, int) or not isinstance(shard_images, int):
            return values
        if images <= 0 or shard_images <= 0:
            return values
        full, rest = divmod(images, shard_images)
        return {**values, "shard_captions": (shard_images,) * full + ((rest,) if rest else ())}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format != FORMAT:
            raise CacheFormatError(f"manifest: format is {shown_value(self.format)}, expected {FORMAT!r}")
        if self.version != VERSION:
            raise CacheFormatError(f"manifest: {other_version(self.version)}")
        try:
            refuse_codec(self.codec, self.storage_dtype)
        except ValueError as error:
            raise CacheFormatError(f"manifest: {error}") from None
        if self.grid[0] * self.grid[1] != self.patches or min(self.grid) < 1:
            raise CacheFormatError(f"manifest: a grid of {self.grid} does not have {self.patches} patches")
        if len(self.shard_captions) != self.shards or min(self.shard_captions) < 0:
            raise CacheFormatError(
                f"manifest: shard_captions has {len(self.shard_captions)} entries for {self.shards} shards; "
                "give the captions of every shard (captions_of_shards counts them) unless each image has one"
            )
        if sum(self.shard_captions) != self.captions:
            raise CacheFormatError(
                f"manifest: shard_captions adds up to {sum(self.shard_captions)}, captions says {self.captions}"
            )
        self._refuse_absurd_sizes()
        return self

    def _refuse_absurd_sizes(self) -> None:
        """Bound what reading a row, or the index of a shard, allocates: the files may be holes that take no room."""
        captions = max(self.shard_captions)
        for what, number, largest in (
            ("values of an image", self.patches * self.vision_channels, LARGEST_ROW),
            ("values of a text token", self.text_channels, LARGEST_ROW),
            ("values of a pooled embedding", self.embedding, LARGEST_ROW),
            ("images of a shard", self.shard_images, LARGEST_SHARD),
            ("captions of a shard", captions, LARGEST_SHARD),
            ("text tokens of a shard", captions * self.context_length, 16 * LARGEST_SHARD),
        ):
            if number > largest:
                raise CacheFormatError(
                    f"manifest: {shown_value(number)} {what}, at most {largest} are possible"
                )

    @property
    def shards(self) -> int:
        """Number of shards; shard k holds image rows `k * shard_images` and following."""
        return -(-self.images // self.shard_images)

    @property
    def caption_capacity(self) -> int:
        """Caption rows reserved for every shard: those of the shard that has most, at least one."""
        return max(1, *self.shard_captions)

    def image_range(self, shard: int) -> range:
        """Image rows of `shard`."""
        start = shard * self.shard_images
        return range(start, min(start + self.shard_images, self.images))

    def caption_range(self, shard: int) -> range:
        """Caption rows that `shard` uses, at the front of those reserved for it."""
        start = shard * self.caption_capacity
        return range(start, start + self.shard_captions[shard])

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        values = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if (key, value) != ("codec", "none")}

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """The manifest read from the file `where`.

        Raises:
            CacheFormatError: `values` is not a manifest of this format version.
        """
        if isinstance(values, Mapping) and not values.get("shard_captions"):
            raise CacheFormatError(f"{where}: manifest: shard_captions is missing")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problem = error.errors()[0]
            key = shown_text(".".join(str(part) for part in problem["loc"]))
            found = problem["input"]
            value = f", found {shown_value(found)}" if isinstance(found, str | int | float | None) else ""
            raise CacheFormatError(f"{where}: manifest: {key}: {problem['msg']}{value}") from None
        except CacheFormatError as error:
            raise CacheFormatError(f"{where}: {error}") from None

    @property
    def storage(self) -> dict[str, str]:
        """How values are stored, as in JSON: `storage_dtype`, and `codec` if there is one."""
        values = self.to_json()
        return {key: values[key] for key in ("storage_dtype", "codec") if key in values}

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON: the identity that every ledger record repeats."""
        return canonical_sha256(self.to_json())


def other_version(version: object) -> str:
    """What to say of a cache of another version than this software reads."""
    older = isinstance(version, int) and version < VERSION
    remedy = "encode it again" if older else "use the release that wrote it"
    return f"format version {shown_value(version)}, and this software reads version {VERSION}; {remedy}"


def canonical_sha256(values: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of canonical JSON: keys sorted, no spaces, ASCII only."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def captions_of_shards(captions_of_images: Iterable[int], shard_images: int) -> tuple[int, ...]:
    """Captions of each shard, from the number of captions of each image in image order."""
    counts = list(captions_of_images)
    return tuple(sum(counts[start : start + shard_images]) for start in range(0, len(counts), shard_images))


def refuse_other_identity(
    found: Mapping[str, Any], expected: Mapping[str, Any], where: str, remedy: str
) -> None:
    """Compare two plain JSON objects key by key.

    Raises:
        CacheIdentityError: they differ; one line per differing key, with both values.
    """
    found_values, expected_values = dict(json_leaves(found)), dict(json_leaves(expected))
    absent = "(absent)"
    differing = [
        (key, found_values.get(key, absent), expected_values.get(key, absent))
        for key in sorted(found_values.keys() | expected_values.keys())
        if found_values.get(key, absent) != expected_values.get(key, absent)
    ]
    lines = [
        f"  {shown_text(key)}: the cache has {shown_text(ours)}, expected {shown_text(theirs)}"
        for key, ours, theirs in differing[:_NAMED_KEYS]
    ]
    if len(differing) > _NAMED_KEYS:
        lines.append(f"  and {len(differing) - _NAMED_KEYS} more")
    if lines:
        raise CacheIdentityError("\n".join([f"{where}: belongs to another identity; {remedy}", *lines]))


def json_leaves(value: Any, key: str = "") -> Iterable[tuple[str, str]]:
    """Dotted keys of a nested JSON object with their values as JSON text."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from json_leaves(inner, f"{key}.{name}" if key else str(name))
    elif key:
        yield key, json.dumps(value, sort_keys=True)
