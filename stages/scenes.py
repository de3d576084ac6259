"""Draw the embedded world."""

from pipeline.params import Params
from pipeline.world.scenes.write import write_scenes
from stages.paths import SCENES
from stages.progress import progress_bar


def draw_scenes(params: Params) -> None:
    """Write every split of the embedded world into `data/scenes`, in COCO layout."""
    with progress_bar("draw scenes", "images") as advance:
        write_scenes(SCENES, params.scenes, advance)
