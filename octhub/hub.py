"""Checkpoints: strict, safetensors only, from a folder or the Hugging Face Hub."""

import json
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, REPOCARD_NAME, SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError
from safetensors.torch import load_file

from octhub.defaults import DEFAULT_CLASSIFIER, DEFAULT_SEGMENTER
from octhub.download import ARGUMENTS, DownloadError, HubSource, download
from octhub.errors import CheckpointError
from octhub.origin import Origin
from octhub.serving import ServingConfig
from octhub.whole_files import PARTIAL, save_tensors, write_whole

CONFIG_VERSION = 1
"""Raised when config.json changes in a way that older code would misread."""

EMBEDDED = {"OctNet": DEFAULT_CLASSIFIER, "UNet": DEFAULT_SEGMENTER}
"""By architecture: what to name when the Hub can't be reached."""

WEIGHTS_SHA256 = "weights_sha256"
"""In config.json: the hash of the file of weights that belong to it."""

BESIDE_PACKAGE = Path(__file__).resolve().parent.parent
"""In a clone of the repository, the folder that holds checkpoints/."""


def locate(source: str | Path) -> str:
    """A checkpoint's folder, or else the Hub repo that `source` must be: "owner/name", or "owner/name@revision".

    "checkpoints/NAME" is looked for in the current folder, then beside the package, so that it works from anywhere.

    Raises:
        CheckpointError: `source` is a path, and no folder is there.
    """
    folder = Path(source).expanduser()
    ours = folder.parts[:1] == ("checkpoints",)
    if ours and not folder.is_dir():
        folder = BESIDE_PACKAGE / folder
    if folder.is_dir():
        return str(folder)
    if ours or isinstance(source, Path) or source.startswith((".", "/", "~")) or source.split("@")[0].count("/") > 1:
        raise CheckpointError(f"{source}: no such folder, expected a checkpoint's folder or a Hub repo 'owner/name'")
    return source


class WeightsError(ValueError):
    """Weights that don't fit; who catches it names their source."""


CARD = """---
{{ card_data }}
---

# An octhub checkpoint

Retinal OCT model, saved by octhub. It has not been evaluated yet: `python -m training.evaluate` measures it and
writes a full card.
"""


class CheckpointMixin(
    PyTorchModelHubMixin,
    library_name="octhub",
    model_card_template=CARD,
    license="apache-2.0",
):
    """`from_pretrained` and `save_pretrained` for octhub's models.

    A checkpoint is a folder (or a Hub repo) with model.safetensors, config.json and README.md. config.json
    holds the constructor's arguments, `architecture` (the class name), `config_version` and `weights_sha256`, the hash
    of model.safetensors; other weights beside it are refused. (Where it lacks the hash, as in checkpoints of octhub's
    first days, any weights that fit are taken.)
    """

    serving: ServingConfig | None
    origin: Origin | None = None
    """Where `from_pretrained` found it."""
    weights_sha256: str | None = None
    """Of the file of weights, as it was loaded; training on doesn't change it."""

    def set_serving(self, serving: ServingConfig | dict | None) -> None:
        """Attach the serving configuration; its class names must match the model's outputs."""
        if isinstance(serving, dict):
            serving = ServingConfig(**serving)
        if serving is not None and len(serving.class_names) != self.num_classes:
            raise ValueError(f"{len(serving.class_names)} class names for {self.num_classes} classes")
        if serving is not None and len(serving.mean) != self.in_chans:
            raise ValueError(f"{len(serving.mean)} normalisation means for {self.in_chans} input channels")
        self.serving = serving

    def save_pretrained(self, save_directory: str | Path, *, dtype: torch.dtype | None = None, **kwargs) -> None:
        """Write model.safetensors, config.json and, unless one is there, README.md.

        All of it is written before anything takes its place, so what can't be written leaves the folder as it was.

        Args:
            dtype: store floating-point tensors in this type (torch.float16 halves the file).

        Raises:
            OSError: it can't be written, for instance because the disk is full.
        """
        folder = Path(save_directory)
        if kwargs.get("push_to_hub"):
            kwargs.setdefault("repo_id", folder.name)
        self._save_dtype = dtype
        partial = folder / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        try:
            super().save_pretrained(partial, **kwargs)
            card = [] if (folder / REPOCARD_NAME).exists() else [REPOCARD_NAME]
            for name in (SAFETENSORS_SINGLE_FILE, CONFIG_NAME, *card):
                (partial / name).replace(folder / name)
        except OSError as e:
            if e.errno is None:
                raise
            name = Path(e.filename).name if e.filename else ""
            raise OSError(e.errno, e.strerror, str(folder / name)) from e
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Called by the mixin, which then adds a card."""
        dtype = self._save_dtype
        tensors = {name: t.to(dtype) if dtype and t.is_floating_point() else t for name, t in self.state_dict().items()}
        save_tensors(save_directory / SAFETENSORS_SINGLE_FILE, tensors)
        config = {
            **self._hub_mixin_config,
            "serving": None if self.serving is None else asdict(self.serving),
            "architecture": type(self).__name__,
            "config_version": CONFIG_VERSION,
            WEIGHTS_SHA256: Origin(save_directory).hash_of(SAFETENSORS_SINGLE_FILE),
        }
        write_whole(save_directory / CONFIG_NAME, json.dumps(config, sort_keys=True, indent=2))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *, revision: str | None = None, **kwargs):
        """Load a checkpoint in eval mode, strictly.

        Args:
            pretrained_model_name_or_path: a folder, a Hub repo "owner/name", or "owner/name@revision".
            revision: a branch, a tag or a commit of the repo; the newest by default. Nothing to a folder.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            map_location: the device to load to; "cpu" by default.

        Raises:
            CheckpointError: nothing there, another architecture, a damaged file, other weights than those that belong
                to the configuration, missing or extra tensors.
        """
        source = locate(pretrained_model_name_or_path)
        hub_kwargs = {key: kwargs.pop(key) for key in ARGUMENTS if key in kwargs}
        here = os.path.isdir(source)
        origin = Origin(Path(source)) if here else cls._download(source, revision, hub_kwargs)
        folder = origin.folder
        missing = [n for n in (CONFIG_NAME, SAFETENSORS_SINGLE_FILE) if not (folder / n).is_file()]
        if missing:
            raise CheckpointError(f"{source}: no {' and no '.join(missing)} in this folder")
        try:
            config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
            cls._check_config(source, config)
            found, expected = origin.hash_of(SAFETENSORS_SINGLE_FILE), config.get(WEIGHTS_SHA256)
            if expected not in (None, found):
                raise WeightsError(
                    f"sha256 {found}, expected {expected} as {CONFIG_NAME} says: damaged, or of another checkpoint"
                )
            model = super().from_pretrained(folder, **kwargs)
        except CheckpointError:
            raise
        except (json.JSONDecodeError, UnicodeDecodeError) as e:
            raise CheckpointError(f"{source}: {CONFIG_NAME} is not JSON: {e}") from e
        except WeightsError as e:
            raise CheckpointError(f"{source}: {SAFETENSORS_SINGLE_FILE}: {e}") from e
        except (TypeError, ValueError, AttributeError) as e:
            raise CheckpointError(f"{source}: {CONFIG_NAME} does not fit {cls.__name__}: {e}") from e
        model.origin = origin
        model.weights_sha256 = found
        return model

    @classmethod
    def _download(cls, source: str, revision: str | None, hub_kwargs: dict) -> Origin:
        """Config and weights of one revision, in the cache."""
        try:
            repo = HubSource.parse(source, revision)
            folder = download(repo, (CONFIG_NAME, SAFETENSORS_SINGLE_FILE), **hub_kwargs)
            return Origin(folder, repo, hub_kwargs)
        except ValueError as e:
            ours = EMBEDDED.get(cls.__name__)
            is_here = ours and (BESIDE_PACKAGE / ours).is_dir()  # in a clone; a Space or an installed package has none
            hint = f"; {ours} works without the Hub" if is_here and isinstance(e, DownloadError) else ""
            raise CheckpointError(f"{e}{hint}") from e

    @classmethod
    def _from_pretrained(cls, *, model_id, map_location="cpu", **kwargs):
        """Called by the mixin, with a folder and the constructor's arguments from config.json."""
        for name in ("revision", "cache_dir", "force_download", "local_files_only", "token"):
            kwargs.pop(name, None)
        model = cls(**kwargs)
        try:
            tensors = load_file(Path(model_id) / SAFETENSORS_SINGLE_FILE)
        except (SafetensorError, OSError) as e:
            raise WeightsError(f"not a whole safetensors file: {e}") from e
        _check_tensors(tensors, model.state_dict())
        model.load_state_dict(tensors, strict=True)
        return model.to(map_location).eval()

    @classmethod
    def _check_config(cls, model_id: str, config: dict) -> None:
        if not isinstance(config, dict):
            raise CheckpointError(f"{model_id}: {CONFIG_NAME} holds a {type(config).__name__}, expected an object")
        found = config.get("architecture")
        if found != cls.__name__:
            raise CheckpointError(f"{model_id}: {CONFIG_NAME} is of architecture {found}, expected {cls.__name__}")
        if not isinstance(config.get("config_version"), int) or config["config_version"] > CONFIG_VERSION:
            raise CheckpointError(
                f"{model_id}: {CONFIG_NAME} has config_version {config.get('config_version')}, this octhub reads up to "
                f"{CONFIG_VERSION}; upgrade octhub"
            )
        known = {*cls._hub_mixin_init_parameters, "architecture", "config_version", WEIGHTS_SHA256}
        unknown = sorted(set(config) - known)
        if isinstance(serving := config.get("serving"), dict):  # the mixin would pass over unknown fields
            unknown += sorted(f"serving.{key}" for key in set(serving) - {f.name for f in fields(ServingConfig)})
        if unknown:
            raise CheckpointError(f"{model_id}: {CONFIG_NAME} has unknown keys {unknown}")


def _check_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Stricter than load_state_dict, which makes up a batch norm's missing counter."""
    problems = []
    if missing := sorted(expected.keys() - found.keys()):
        problems.append(f"missing tensors {', '.join(missing)}")
    if extra := sorted(found.keys() - expected.keys()):
        problems.append(f"unexpected tensors {', '.join(extra)}")
    for name in sorted(found.keys() & expected.keys()):
        if found[name].shape != expected[name].shape:
            problems.append(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}")
    if problems:
        raise WeightsError("; ".join(problems))
