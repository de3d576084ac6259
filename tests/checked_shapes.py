"""The run-time check of array annotations that every test runs under.

It checks the shapes and dtypes that jaxtyping states. Every other annotation is mypy's business.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, no_type_check

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


def check_imported_modules() -> None:
    """Make the named tuples of the checked modules imported so far check their arrays, and spare what states none.

    jaxtyping binds the arguments of every call, also where there is nothing to check.
    """
    for name in _CHECKED:
        for member in list(vars(sys.modules.get(name, object)).values()):
            if getattr(member, "__module__", None) != name:
                continue
            if inspect.isclass(member) and hasattr(member, "_fields"):
                member.__new__ = jaxtyped(member.__new__, typechecker=check_arrays)
            for function in vars(member).values() if inspect.isclass(member) else (member,):
                checked = inspect.unwrap(getattr(function, "__func__", function))
                if inspect.isfunction(checked) and not _arrays(checked):
                    no_type_check(checked)


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` refuse arguments, or a result, that are not the arrays its annotations state.

    jaxtyping gives it each function twice: with its arguments alone, and, to be called when these have been checked,
    with its result, too.
    """
    arrays = _arrays(function)
    if not arrays:
        return function
    function.__annotations__ = {"return": arrays["return"]} if "return" in arrays else arrays
    return beartype(function)


def _arrays(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: kind for name, kind in function.__annotations__.items() if _states_arrays(kind)}


def _states_arrays(annotation: Any) -> bool:
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return True
    return get_origin(annotation) in _CONTAINERS and any(map(_states_arrays, get_args(annotation)))
