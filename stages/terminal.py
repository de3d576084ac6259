"""What commands write on the terminal: the one way there, which shows control characters instead of sending them.

Captions, file names and whatever a library quotes of them may come from a stranger. A terminal obeys what it reads in
them: it would change its title, overwrite lines that were printed before, or print them backwards.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cache import visible


class Terminal(Console):
    """A console whose text is shown as it is: no markup, no emoji codes, no guessed colours, no control characters.

    What the terminal's encoding does not have is written as an escape, too.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        """Write on standard output, or on standard error."""
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a message or of a cell, before its place is measured."""
        return super().render_str(self._safe(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything else, on its way to the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=self._safe(segment.text))

    def _safe(self, text: str) -> str:
        if text.isascii() and text.replace("\n", "").isprintable():
            return text
        return visible(text).encode(self.encoding, "backslashreplace").decode(self.encoding)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Table:
    """A table without rules: what a row is about on the left of its first column, figures on the right of theirs."""
    made = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=None)
    for place, column in enumerate(columns):
        made.add_column(column, justify="right" if place else "left")
    for row in rows:
        made.add_row(*row)
    return made
