"""A captions file and an instances file of one split, which must mean the same images by the same ids."""

from cache import shown_value
from pipeline.datasets.annotation_file import AnnotationFile, ImageEntry
from pipeline.errors import DatasetError


def refuse_disagreement(captions: AnnotationFile, instances: AnnotationFile) -> None:
    """Check that every image of `captions` is in `instances`, with the same file name and size.

    Objects are joined to images by id: where the files number images differently, they would go to other pictures, or
    to none. Images that `instances` has beyond those are passed over: nothing is said of them.

    Raises:
        DatasetError: they differ; the message names both files, the id and both values.
    """
    for image_id, one in captions.images.items():
        other = instances.images.get(image_id)
        if other is None:
            raise DatasetError(
                f"{captions.path} lists image {image_id}, {_shown(one)}, and {instances.path} does not; both files "
                "must be of the same images, also of those without objects"
            )
        same_name = one.file_name == other.file_name or captions.file_name(one) == instances.file_name(other)
        if not same_name or (one.width, one.height) != (other.width, other.height):
            raise DatasetError(
                f"{captions.path} and {instances.path} disagree about image {image_id}: it is {_shown(one)} in the "
                f"first and {_shown(other)} in the second; boxes could go to the wrong picture, so "
                "export both from one source"
            )


def _shown(image: ImageEntry) -> str:
    return f"{shown_value(image.file_name)} of {image.width} x {image.height} px"
