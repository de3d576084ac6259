"""Any data set that is a folder per class: FOLDER/CLASS/*.jpg, *.jpeg or *.png."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import open_clip

from pipeline.classification.pictures import LabelledPicture
from pipeline.datasets.pictures import read_upright
from pipeline.errors import ConfigError, DatasetError

SUFFIXES = (".jpeg", ".jpg", ".png")

DEFAULT_TEMPLATES = tuple(template("{}") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES)
"""The seven prompts that CLIP's authors chose from their eighty for ImageNet."""


@dataclass(frozen=True)
class ImageFolder:
    """The pictures of a folder, by class.

    Attributes:
        root: the folder.
        files: per class its pictures, both in alphabetical order.
        skipped: file and reason of every picture left out, which grows as `read` goes.
    """

    root: Path
    files: Mapping[str, Sequence[Path]]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of their labels."""
        return list(self.files)

    def read(self) -> Iterator[LabelledPicture]:
        """Decode one picture after the other; one that cannot be, or that was already seen, is skipped.

        Raises:
            DatasetError: of a class's pictures none can be used, or a file cannot be read at all.
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
                    f"{self.root / name}: none of its {len(paths)} pictures can be used ({first_reason}); "
                    "replace them, or remove the class"
                )

    def _decode(self, path: Path, label: int) -> LabelledPicture | None:
        name = self._name(path)
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            return LabelledPicture(name, label, read_upright(path))
        except DatasetError as reason:
            self.skipped[name] = str(reason).removeprefix(f"{path}: ")
            return None

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def open_image_folder(root: Path) -> ImageFolder:
    """List the classes of `root` and their pictures; hidden folders are none.

    Raises:
        DatasetError: there is no such folder, it has fewer than two classes, or a class has no picture.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; it must hold one folder of pictures per class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        raise DatasetError(
            f"{root}: has {len(folders)} folder{'s' * (len(folders) != 1)} of pictures, and a choice takes two; "
            "the layout must be FOLDER/CLASS/*.jpg or *.png"
        )
    files = {
        folder.name: sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        for folder in folders
    }
    for name, paths in files.items():
        if not paths:
            raise DatasetError(
                f"{root / name}: no picture in this class ({', '.join(SUFFIXES)}); add some, or remove the folder"
            )
    return ImageFolder(root, files)


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
                f"--template: {template!r} has no {{}} where the class goes; write e.g. 'a photo of a {{}}'"
            )
    names = [name.replace("_", " ") for name in classes]
    return [[template.replace("{}", name) for template in templates] for name in names]
