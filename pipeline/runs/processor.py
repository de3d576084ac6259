"""The name of the machine's processor: figures and seconds differ a little between processors."""

import platform
from pathlib import Path


def processor_name() -> str:
    """As the system calls it, such as `Intel(R) Xeon(R) Processor @ 2.60GHz`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
