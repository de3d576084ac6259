"""How long work tells how far it is, and how it asks for a bar to tell it on."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Advance = Callable[[int, int], None]
"""Receives (items done, items in all)."""

ProgressBar = Callable[[str, str], AbstractContextManager[Advance]]
"""Shows a part of the work while a `with` block runs; takes its title and what is counted, in the plural."""
