"""The package's names are there, although most are imported only when they are asked for."""

import pytest

import cache


@pytest.mark.parametrize("name", cache.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(cache)
    assert getattr(cache, name) is not None


def test_another_name_is_an_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'ActivationCach'"):
        from cache import ActivationCach  # type: ignore[attr-defined]  # noqa: F401
