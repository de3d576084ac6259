"""What an interrupted training says: at which step the next one begins."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.checkpoint import read_checkpoint


@contextmanager
def telling_the_kept_step(checkpoint: Path, total: int) -> Iterator[None]:
    """While the block runs, let an interruption tell how far its checkpoint is, if there is one then.

    Args:
        checkpoint: the file; the message names its folder.
        total: steps of the whole training.
    """
    try:
        yield
    except KeyboardInterrupt as interruption:
        if checkpoint.exists():
            step = read_checkpoint(checkpoint).step
            interruption.add_note(f"{checkpoint.parent}: step {step} of {total} is kept")
        raise
