"""Write docs/performance.md from the results under benchmarks/results/: `python -m benchmarks.performance_page`.

The numbers of that page are never typed: a figure that nobody can re-run has no place there.
"""

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
PAGE = ROOT / "docs/performance.md"
INTRODUCTION = """# Performance

Written by `python -m benchmarks.performance_page` from the files under `benchmarks/results/`, each of which is what the
command above its table wrote. Candidates take turns, round after round; a ratio is the median over the rounds of the
ratio within a round, and the other tables give the median, the lowest and the highest round.
"""


def performance_page(results: Path = RESULTS) -> str:
    """The page as Markdown: a section for each result file that states measurements."""
    sections = [INTRODUCTION]
    for file in sorted(results.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        if "measured" in result:
            sections.append(_section(file.stem, result))
    return "\n".join(sections)


def _section(name: str, result: dict[str, Any]) -> str:
    module = result["command"].split()[2]
    description = inspect.getdoc(importlib.import_module(module)) or ""
    machine, conditions = result["machine"], result["conditions"]
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return "\n".join(
        [
            f"## {name}",
            "",
            description,
            "",
            f"    {result['command']}",
            "",
            _table(["ratio", ""], [[name, f"{ratio:g}"] for name, ratio in result["ratios"].items()]),
            "",
            _table(
                ["measured", "median", "lowest", "highest", ""],
                [
                    [name, *(f"{spread[key]:g}" for key in ("median", "lowest", "highest")), spread["unit"]]
                    for name, spread in result["measured"].items()
                ],
            ),
            "",
            f"{machine['processor']}, {machine['cores']} cores, {machine['torch_threads']} thread(s) of torch, "
            f"{machine['system']}, load average {machine['load_average_at_end']:g}; {versions}.",
            "",
            "Conditions: " + "; ".join(f"{name} {_plain(value)}" for name, value in conditions.items()) + ".",
            "",
        ]
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    PAGE.write_text(performance_page(), encoding="utf-8")
    print(PAGE)
