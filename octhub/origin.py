"""Where a loaded checkpoint came from, and the records that lie beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils.sha import sha_fileobj

from octhub.download import DownloadError, HubSource, download


@dataclass(frozen=True)
class Origin:
    """A checkpoint's folder, or the commit of a Hub repo that it was downloaded from.

    Attributes:
        folder: on this disk; it holds config.json and the weights.
        repo: the Hub repo and the revision that was asked for; None for a folder.
        hub_kwargs: what its files were downloaded with (see octhub.download.ARGUMENTS).
    """

    folder: Path
    repo: HubSource | None = None
    hub_kwargs: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def commit(self) -> str | None:
        """The repo's commit: a folder in the Hub's cache is named after it. None for a folder."""
        return None if self.repo is None else self.folder.name

    def __str__(self) -> str:
        """As `from_pretrained` takes it; of a folder only the end, since the path to it is nobody's business."""
        if self.repo is not None:
            return str(self.repo)
        folder = self.folder.resolve()
        return f"checkpoints/{folder.name}" if folder.parent.name == "checkpoints" else folder.name

    def sha256(self) -> dict[str, str]:
        """The hashes of weights and configuration, by file name."""
        return {name: self.hash_of(name) for name in (SAFETENSORS_SINGLE_FILE, CONFIG_NAME)}

    def hash_of(self, name: str) -> str:
        """The sha256 of a file in the folder, in hexadecimal."""
        with (self.folder / name).open("rb") as f:
            return sha_fileobj(f).hex()

    def find(self, names: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
        """Files that a checkpoint may have or not, of the very commit that was loaded.

        After a download that failed, the Hub isn't asked for the rest; what was downloaded before is still found.

        Returns:
            Name → path of those that are there, and name → why not of the others.
        """
        if self.repo is None:
            found = {name: self.folder / name for name in names if (self.folder / name).is_file()}
            return found, {name: "not in this folder" for name in names if name not in found}
        found, absent = {}, {}
        commit, how = HubSource(self.repo.repo_id, self.commit), self._kwargs()
        for name in names:
            try:
                found[name] = download(commit, (name,), **how) / name
            except DownloadError as e:
                lacking = isinstance(e.__cause__, EntryNotFoundError)
                if lacking and not isinstance(e.__cause__, LocalEntryNotFoundError):
                    absent[name] = "not in this repo"
                    continue
                absent[name] = "out of reach: the download failed"
                how["local_files_only"] = True
        return found, absent

    def _kwargs(self) -> dict[str, object]:
        """A second download isn't forced: the first one was."""
        return {key: value for key, value in self.hub_kwargs.items() if key != "force_download"}
