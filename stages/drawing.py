"""Write a drawing, and say where it is and what it could not show."""

from pathlib import Path

from matplotlib.figure import Figure

from cache import shown_text
from pipeline.figures.style import save_figure, undrawn_characters
from stages.progress import note


def write_drawing(figure: Figure, output: Path) -> None:
    """Write the figure, whose format the suffix says.

    Raises:
        RunError: the file cannot be written.
    """
    save_figure(figure, output)
    note(f"drawn in {output}")
    undrawn = undrawn_characters(figure)
    if undrawn:
        note(
            f"  no font of drawings has these characters, which are empty boxes in it: {shown_text(undrawn)}"
        )
