"""The run-time check of array annotations that every test runs under.

It checks the shapes and dtypes that jaxtyping states. Every other annotation is mypy's business.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook, jaxtyped

_CONTAINERS = (Union, UnionType, tuple, list, dict)
_CHECKED: list[str] = []


def check_modules_when_imported(root: Path) -> None:
    """Make every function of `cache` and `pipeline` that is imported from now on check its arrays.

    Triton reads the source of its kernels, which stand in `*_triton.py`, and compiles it: nothing may wrap them.
    """
    paths = (path for package in ("cache", "pipeline") for path in (root / package).rglob("*.py"))
    _CHECKED.extend(
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in paths
        if not path.stem.endswith("_triton") and "jaxtyping" in path.read_text(encoding="utf-8")
    )
    install_import_hook(_CHECKED, f"{__name__}.{check_arrays.__name__}")


def check_named_tuples() -> None:
    """Make every named tuple of the checked modules imported so far check its arrays when it is made."""
    for module in _CHECKED:
        for kind in list(vars(sys.modules.get(module, object)).values()):
            if inspect.isclass(kind) and kind.__module__ == module and hasattr(kind, "_fields"):
                kind.__new__ = jaxtyped(kind.__new__, typechecker=check_arrays)


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` refuse arguments and results that are not the arrays its annotations state."""
    arrays = {name: kind for name, kind in function.__annotations__.items() if _states_arrays(kind)}
    if not arrays:
        return function
    function.__annotations__ = arrays
    return beartype(function)


def _states_arrays(annotation: Any) -> bool:
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return True
    return get_origin(annotation) in _CONTAINERS and any(map(_states_arrays, get_args(annotation)))
