"""Stage one: from a data set's images and captions to an activation cache."""

from pipeline.encoding.options import EncodeOptions
from pipeline.encoding.split import EncodeSummary, cache_manifest, encode_missing, encode_split

__all__ = ["EncodeOptions", "EncodeSummary", "cache_manifest", "encode_missing", "encode_split"]
