"""Interrupts `concord encode` and `concord train` in forked processes: what they import is imported once, here.

Usage: killed_commands.py FOLDER KILLS. Works in FOLDER/encode and FOLDER/train, each until it was killed as often as
KILLS, a JSON object, says, and prints as JSON what happened.
"""

import json
import signal
import sys
from pathlib import Path

from killed_encode import interrupt_encoding
from killed_train import interrupt_training

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    folder, kills = Path(sys.argv[1]), json.loads(sys.argv[2])
    told = {
        "encode": interrupt_encoding(folder / "encode", kills["encode"]),
        "train": interrupt_training(folder / "train", kills["train"]),
    }
    print(json.dumps(told))
