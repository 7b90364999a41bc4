"""A file of a Hub repo on this disk, and its bytes as the Hub says they are."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.sha import git_hash, sha_fileobj

ARGUMENTS = ("token", "cache_dir", "local_files_only", "force_download")
"""What is passed on to huggingface_hub, beside the revision."""

SHA1, SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")


class DownloadError(ValueError):
    """A file that can't be had from the Hub; the message says why, and what helps."""


@dataclass(frozen=True)
class HubSource:
    """A Hub repo, and the revision of it: a branch, a tag or a commit; None for the newest."""

    repo_id: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> "HubSource":
        """Read "owner/name" or "owner/name@revision".

        Raises:
            ValueError: `revision` says otherwise than the text.
        """
        repo_id, at, named = text.partition("@")
        if at and (not named or revision not in (None, named)):
            raise ValueError(f"{text}: revision {named!r}, and {revision!r} was asked for")
        return cls(repo_id, named or revision)

    def __str__(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id}@{self.revision}"


def download(source: HubSource, files: tuple[str, ...], **hub_kwargs) -> Path:
    """Files of one commit of a repo, from the cache if they are there, with their hashes checked.

    A file whose bytes aren't what the Hub announced is fetched once more, and then dropped from the cache.

    Args:
        files: their names; the first finds out which commit the revision is.
        hub_kwargs: of ARGUMENTS.

    Returns:
        The folder in the cache that holds them, named after the commit.

    Raises:
        DownloadError: they can't be had.
    """
    first = _checked(source, files[0], hub_kwargs)
    commit = HubSource(source.repo_id, first.parent.name)  # the revision may move before the next download
    for name in files[1:]:
        _checked(commit, name, hub_kwargs)
    return first.parent


def _checked(source: HubSource, name: str, hub_kwargs: dict) -> Path:
    path = _fetch(source, name, hub_kwargs)
    if _is_whole(path):
        return path
    if not hub_kwargs.get("local_files_only"):
        try:
            path = _fetch(source, name, {**hub_kwargs, "force_download": True})
        except DownloadError as e:
            _drop(path)
            raise DownloadError(f"{e} (the cached file was damaged, and was dropped)") from e
        if _is_whole(path):
            return path
    _drop(path)
    raise DownloadError(
        f"{source}: {name} is not what the Hub announced (its hash differs), and was dropped; try again"
    )


def _fetch(source: HubSource, name: str, hub_kwargs: dict) -> Path:
    """hf_hub_download, with messages that say what to do."""
    try:
        return Path(hf_hub_download(source.repo_id, name, revision=source.revision, **hub_kwargs))
    except HFValidationError as e:
        raise DownloadError(f"{source}: neither a folder that exists nor a Hub repo 'owner/name'") from e
    except GatedRepoError as e:
        raise DownloadError(f"{source}: this Hub repo is gated; ask for access, then `hf auth login`") from e
    except RepositoryNotFoundError as e:
        raise DownloadError(f"{source}: no such Hub repo, or a private one that needs `hf auth login`") from e
    except RevisionNotFoundError as e:
        raise DownloadError(f"{source}: the Hub repo has no revision {source.revision!r}") from e
    except LocalEntryNotFoundError as e:
        raise DownloadError(f"{source}: {name} is not in the local cache and the Hub can't be reached") from e
    except EntryNotFoundError as e:
        raise DownloadError(f"{source}: the Hub repo has no {name}, expected one") from e
    except (HfHubHTTPError, HTTPError, OSError, RuntimeError) as e:  # hf_xet's own are RuntimeErrors
        said = (str(e).strip() or type(e).__name__).splitlines()[0]
        if cached := _cached(source, name, hub_kwargs):
            warnings.warn(f"{source}: {name} is from the cache, since the Hub failed ({said})", stacklevel=2)
            return cached
        raise DownloadError(f"{source}: the download of {name} failed ({said}); try again") from e
    except ValueError as e:  # that a forced download needs a Hub
        raise DownloadError(f"{source}: {name} can't be downloaded, since the Hub can't be reached") from e


def _cached(source: HubSource, name: str, hub_kwargs: dict) -> Path | None:
    """What the cache holds of a file, if that may stand in for a Hub that fails."""
    if hub_kwargs.get("force_download"):
        return None
    found = try_to_load_from_cache(source.repo_id, name, hub_kwargs.get("cache_dir"), source.revision)
    return Path(found) if isinstance(found, str) else None


def _is_whole(path: Path) -> bool:
    """Whether a cached file has the hash that its blob is named after: SHA-256 for large files, git's for others.

    Caches without links, as on some Windows machines, don't name it; there nothing can be said against the file.
    """
    blob = _blob(path)
    if SHA256.fullmatch(blob.name):
        with blob.open("rb") as f:
            return sha_fileobj(f).hex() == blob.name
    if SHA1.fullmatch(blob.name):
        return git_hash(blob.read_bytes()) == blob.name
    return True


def _blob(path: Path) -> Path:
    """The blob that a file in a snapshot is a link to. It may itself be a link into the cache's shared store, where
    files have other names, and other repos may need them; so one link is followed, and no more."""
    return path.parent / os.readlink(path) if path.is_symlink() else path


def _drop(path: Path) -> None:
    """Remove a file and its repo's blob from the cache."""
    _blob(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
