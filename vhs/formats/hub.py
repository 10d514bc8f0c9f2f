"""The Hugging Face hub: its cache first, then one quick look whether it answers, never minutes of retries."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from vhs.errors import InputError

PATIENCE = 1.0
"""Seconds in which the hub, or the proxy before it, must take a connection."""


def folder(name: str, described: Sequence[str], weights: Sequence[str]) -> Path:
    """The files of a hub repository: as cached, else fetched. described: all wanted; weights: one of them is enough.

    Raises InputError where neither is possible, at once.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = [*described, *weights]
    try:
        kept = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        if all((kept / file).is_file() for file in described) and any((kept / file).is_file() for file in weights):
            return kept
    except HFValidationError as error:
        raise InputError(f"hf:{name}: is no folder here, and no name that the hub could have.") from error
    except Exception:  # the hub raises many kinds for what is not in its cache
        pass
    check(f"hf:{name}", "Name a folder that transformers wrote")
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"hf:{name}: is no folder here and cannot be fetched: {reason}.") from error


def is_cached(repository: str, files: Sequence[str]) -> bool:
    """Whether one of these files of a repository (`NAME` or `NAME@REVISION`) is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    found = (try_to_load_from_cache(name, file, revision=revision or None) for file in files)
    return any(isinstance(path, str) for path in found)


@contextmanager
def offline() -> Iterator[None]:
    """Inside, the hub's library takes what is cached and asks nobody."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check(reference: str, instead: str, source: str | None = None) -> None:
    """Raises InputError unless the hub may be asked and answers. instead: what else the user can do;
    source: an address of weights elsewhere.

    HF_HUB_OFFLINE=1 forbids it; HF_HUB_OFFLINE=0 asks for it, however slow the network is.
    """
    from huggingface_hub import constants

    endpoint = source or constants.ENDPOINT
    where = f"{reference}: is not in the cache" + ("" if source else f" ({constants.HF_HUB_CACHE})")
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"{where}, and HF_HUB_OFFLINE forbids to fetch it. {instead}, or unset it.")
    if os.environ.get("HF_HUB_OFFLINE") == "0" or _answers(endpoint):
        return
    host = urlsplit(endpoint).hostname
    raise InputError(
        f"{where}, and {host} does not answer. {instead}, fill the cache, or insist with HF_HUB_OFFLINE=0."
    )


def _answers(endpoint: str) -> bool:
    """Whether a connection can be made. In a thread, because looking up a name cannot be given a time limit."""
    address = urlsplit(endpoint)
    proxy = getproxies().get(address.scheme)
    parts = urlsplit(proxy if proxy and "//" in proxy else f"//{proxy}") if proxy else address
    port = parts.port or (443 if parts.scheme == "https" else 80)
    worked: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=PATIENCE).close()
            worked.append(True)
        except OSError:
            pass

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(worked)
