"""Any data set that is a folder per class: FOLDER/CLASS/*, whatever the pictures' names end in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import open_clip

from pipeline.classification.pictures import LabelledPicture
from pipeline.datasets.pictures import FORMATS, UnusableImageError, read_upright
from pipeline.errors import ConfigError, DatasetError

DEFAULT_TEMPLATES = tuple(template("{}") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES)
"""The seven prompts that CLIP's authors chose from their eighty for ImageNet."""


@dataclass(frozen=True)
class ImageFolder:
    """The pictures of a folder, by class.

    Attributes:
        root: the folder.
        files: per class everything in its folder, both in alphabetical order.
        skipped: file and reason of everything left out, which grows as `read` goes.
    """

    root: Path
    files: Mapping[str, Sequence[Path]]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of their labels."""
        return list(self.files)

    def read(self) -> Iterator[LabelledPicture]:
        """Decode one picture after the other; what cannot be decoded, or was already seen, is skipped.

        Raises:
            DatasetError: of a class's files none can be used, or one cannot be read at all.
        """
        seen: dict[str, str] = {}
        for label, (name, paths) in enumerate(self.files.items()):
            before = len(self.skipped)
            for path in paths:
                picture = self._decode(path, label)
                if picture is None:
                    continue
                first = seen.setdefault(picture.digest(), picture.name)
                if first != picture.name:
                    self.skipped[picture.name] = f"the same picture as {first}"
                    continue
                yield picture
            if len(self.skipped) - before == len(paths):
                first_reason = self.skipped[self._name(paths[0])]
                raise DatasetError(
                    f"{self.root / name}: none of its {len(paths)} files can be used ({first_reason}); "
                    "replace them, or remove the class"
                )

    def _decode(self, path: Path, label: int) -> LabelledPicture | None:
        name = self._name(path)
        try:
            return LabelledPicture(name, label, read_upright(path))
        except UnusableImageError as error:
            self.skipped[name] = error.reason
            return None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def open_image_folder(root: Path) -> ImageFolder:
    """List the classes of `root` and what is in them; hidden folders and files are passed over.

    Raises:
        DatasetError: there is no such folder, it has fewer than two classes, or one of them is empty.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; it must hold one folder of pictures per class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        raise DatasetError(
            f"{root}: has {len(folders)} folder{'s' * (len(folders) != 1)} of pictures, and a choice takes two; "
            "the layout must be FOLDER/CLASS/*.jpg, or pictures of other formats"
        )
    files = {
        folder.name: sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for folder in folders
    }
    for name, paths in files.items():
        if not paths:
            raise DatasetError(
                f"{root / name}: no picture in this class ({', '.join(FORMATS)}); add some, or remove the folder"
            )
    beside = [path.name for path in root.iterdir() if not path.is_dir() and not path.name.startswith(".")]
    return ImageFolder(root, files, dict.fromkeys(sorted(beside), "in no class: it lies beside the folders"))


def refuse_other_classes(tuning: ImageFolder, test: ImageFolder) -> None:
    """Refuse to tune on other classes than are scored.

    Raises:
        DatasetError: a class is in one folder only.
    """
    lonely = sorted(set(tuning.classes) ^ set(test.classes))
    if lonely:
        has = tuning.root if lonely[0] in tuning.files else test.root
        raise DatasetError(
            f"{tuning.root} and {test.root} must have the same classes; only {has} has {lonely[0]!r}"
        )


def fill_templates(classes: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Every class in every template; an underscore in a folder's name is a space.

    Raises:
        ConfigError: a template has no place for the class.
    """
    for template in templates:
        if "{}" not in template:
            raise ConfigError(
                f"prompt {template!r} has no {{}} where the class goes; write e.g. 'a photo of a {{}}'"
            )
    names = [name.replace("_", " ") for name in classes]
    return [[template.replace("{}", name) for template in templates] for name in names]
