"""Files of a repository on the Hugging Face hub: from this machine's cache, else fetched, else refused at once.

The hub's own client tries six times for half a minute, and says so twice each time, before it gives up on a machine
without a network.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RemoteEntryNotFoundError

from pipeline.backbone.refusal import first_line
from pipeline.errors import BackboneError

_SECONDS = 10.0
"""How long the hub may take to say that it has a file."""


def hub_file(repository: str, names: Sequence[str], key: str) -> Path:
    """The first of the files `names` that this machine has of `repository`, else the first that the hub has.

    Args:
        repository: OWNER/NAME, or NAME alone as the hub's oldest repositories have it.
        names: paths in the repository, the preferred first.
        key: the option that asks for it, such as `backbone.model`.

    Raises:
        BackboneError: none is on this machine, and none can be fetched.
        EntryNotFoundError: the repository has no such file.
    """
    for name in names:
        if file := _cached(repository, name, key):
            return file
    if constants.HF_HUB_OFFLINE:
        raise _missing(repository, names, key, "HF_HUB_OFFLINE forbids it")
    for name in names:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=_SECONDS)
            return Path(hf_hub_download(repository, name))
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # of the hub's own, of its client's, and of the system's kinds
            raise _missing(repository, names, key, first_line(error)) from error
    raise EntryNotFoundError(f"{repository} has no {' or '.join(names)} on the hub")


def hub_folder(repository: str, needed: Sequence[str], optional: Sequence[str], key: str) -> Path:
    """A folder with the files `needed` of `repository`, and those of `optional` that the repository has.

    Raises:
        BackboneError: one that is needed is not on this machine, and cannot be fetched or does not exist.
    """
    first, *others = sorted(needed, key=lambda name: _cached(repository, name, key) is not None)
    whole = _cached(repository, first, key) is not None
    try:
        folder = hub_file(repository, [first], key).parent
        for name in (
            () if whole else optional
        ):  # before the others, without which a later call fetches these again
            with suppress(EntryNotFoundError):
                hub_file(repository, [name], key)
        for name in others:
            hub_file(repository, [name], key)
    except EntryNotFoundError as error:
        raise BackboneError(f"{key}: {error}; choose another model") from error
    return folder


def _cached(repository: str, name: str, key: str) -> Path | None:
    try:
        return Path(hf_hub_download(repository, name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except ValueError as error:
        raise BackboneError(f"{key}: {repository!r} is no name on the hub: {first_line(error)}") from error


def _missing(repository: str, names: Sequence[str], key: str, reason: str) -> BackboneError:
    return BackboneError(
        f"{key}: {names[0]} of {repository} is not in this machine's hub cache ({constants.HF_HUB_CACHE}) and cannot "
        f"be fetched from {constants.ENDPOINT}: {reason}; run once where there is a network and copy that folder here, "
        "or give a model with its weights and tokenizer as local-dir:FOLDER"
    )
