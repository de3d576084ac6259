"""A captions file and an instances file of one split, which must mean the same images by the same ids."""

from pathlib import PurePosixPath

from cache import shown_value
from pipeline.datasets.annotation_file import AnnotationFile
from pipeline.errors import DatasetError


def refuse_disagreement(captions: AnnotationFile, instances: AnnotationFile) -> None:
    """Check that every image of `captions` is in `instances`, with the same file name and size.

    Objects are joined to images by id: where the files number images differently, they would go to other pictures, or
    to none. Images that `instances` has beyond those are passed over: nothing is said of them.

    Raises:
        DatasetError: they differ; the message names both files, the id and both values.
    """
    for image_id in captions.images:
        one = _name_and_size(captions, image_id)
        if image_id not in instances.images:
            raise DatasetError(
                f"{captions.path} lists image {image_id}, {_shown(*one)}, and {instances.path} does not; both files "
                "must be of the same images, also of those without objects"
            )
        other = _name_and_size(instances, image_id)
        if one != other:
            raise DatasetError(
                f"{captions.path} and {instances.path} disagree about image {image_id}: it is {_shown(*one)} in the "
                f"first and {_shown(*other)} in the second; boxes could go to the wrong picture, so "
                "export both from one source"
            )


def _name_and_size(file: AnnotationFile, image_id: int) -> tuple[PurePosixPath, tuple[int, int]]:
    """What both files must say of an image."""
    return file.file_name(file.images[image_id]), file.sizes[image_id]


def _shown(name: PurePosixPath, size: tuple[int, int]) -> str:
    return f"{shown_value(str(name))} of {size[0]} x {size[1]} px"
