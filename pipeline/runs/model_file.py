"""`model.safetensors` of a run: its name, and what tells one trained dictionary from another."""

from pathlib import Path

from pipeline.runs.config import RETRAIN
from pipeline.runs.seal import MARK, SEAL_KEY
from pipeline.runs.tensor_file import read_header

MODEL_FILE = "model.safetensors"


def model_seal(run: Path) -> str:
    """The checksum that the model file of a run states of itself.

    Raises:
        RunError: the file is missing or cannot be read.
    """
    return read_header(run / MODEL_FILE, RETRAIN).texts.get(SEAL_KEY, "").removeprefix(MARK)
