"""A captions file and an instances file of one split, which must mean the same images by the same ids."""

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
        if image_id not in instances.images:
            raise DatasetError(
                f"{captions.path} lists image {image_id}, {_described(captions, image_id)}, and {instances.path} does "
                "not; both files must be of the same images, also of those without objects"
            )
        one, other = _described(captions, image_id), _described(instances, image_id)
        if one != other:
            raise DatasetError(
                f"{captions.path} and {instances.path} disagree about image {image_id}: it is {one} in the first and "
                f"{other} in the second; boxes could go to the wrong picture, so export both from one source"
            )


def _described(file: AnnotationFile, image_id: int) -> str:
    """An image's name and size, in which both files must agree."""
    entry = file.images[image_id]
    width, height = file.size(entry)
    return f"{shown_value(str(file.file_name(entry)))} of {width} x {height} px"
