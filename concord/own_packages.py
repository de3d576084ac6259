"""Finding the packages that lie beside `concord`, though others of the same names may lie nearer on the path."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def import_own(name: str) -> None:
    """Import the package `name` that lies beside this one, whatever else of that name the path leads to.

    Raises:
        ImportError: another package of that name is imported already.
    """
    file = Path(__file__).parents[1] / name / "__init__.py"
    if name not in sys.modules:
        spec = spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
        if spec is None or spec.loader is None:
            raise ImportError(f"{file}: no such file; install concord-sae again")
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    found = sys.modules[name].__file__
    if found is None or not Path(found).samefile(file):
        raise ImportError(
            f"the package {name!r} of {found or 'a folder without __init__.py'} is imported already, and concord has "
            "one of that name; import concord first, or rename yours"
        )
