"""How much memory the control groups of this process leave it: of its own group and of every group above.

Version 1 and version 2 of the kernel's interface are read, also beside each other. A container may see only a part of
the hierarchy; then the topmost group that it sees stands for all above.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


_Read = Callable[[Path], int | None]
"""Bytes that the group of a folder may still take; None without a limit."""


def memory_left(mount: Path, membership: str) -> int | None:
    """The least number of bytes that any of the groups still has, page cache that can be dropped counted as free.

    Args:
        mount: where the hierarchies are mounted, `MOUNT`.
        membership: the content of `MEMBERSHIP`.

    Returns:
        None if there is no group with a limit.
    """
    left = [
        bytes_left
        for line in membership.splitlines()
        for read, folder in _groups(mount, line)
        if (bytes_left := read(folder)) is not None
    ]
    return min(left, default=None)


def _groups(mount: Path, line: str) -> Iterator[tuple[_Read, Path]]:
    """The folders of the groups that a line of `MEMBERSHIP` names, the topmost first, and how each is read."""
    _, controllers, path = line.split(":", maxsplit=2)
    if controllers == "":
        hierarchies = [(_left_of_version_2, mount), (_left_of_version_2, mount / "unified")]
    elif "memory" in controllers.split(","):
        hierarchies = [(_left_of_version_1, folder) for folder in {mount / "memory", mount / controllers}]
    else:
        return
    inside = PurePosixPath(path).relative_to("/").parts
    if ".." in inside:  # the group is outside of what this container sees
        inside = ()
    for read, top in hierarchies:
        for depth in range(len(inside) + 1):
            yield read, top.joinpath(*inside[:depth])


def _left_of_version_2(group: Path) -> int | None:
    """Bytes that a group may still take before it is slowed down (memory.high) or killed (memory.max)."""
    limits = [_number(group / name) for name in ("memory.max", "memory.high")]
    return _left(limits, _number(group / "memory.current"), _statistics(group).get("inactive_file", 0))


def _left_of_version_1(group: Path) -> int | None:
    """The same; a group's statistics know the least limit of all groups above, also of those that are not seen."""
    statistics = _statistics(group)
    limits = [_number(group / "memory.limit_in_bytes"), statistics.get("hierarchical_memory_limit")]
    return _left(limits, _number(group / "memory.usage_in_bytes"), statistics.get("total_inactive_file", 0))


def _left(limits: list[int | None], used: int | None, droppable: int) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return None if not known or used is None else max(0, min(known) - used + droppable)


def _number(file: Path) -> int | None:
    """The number in a file; None if there is none, as in "max"."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _statistics(group: Path) -> dict[str, int]:
    """The numbers of `memory.stat` by name."""
    with contextlib.suppress(OSError, ValueError):
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        return {name: int(number) for name, number in map(str.split, lines)}
    return {}
