"""Checkpoints: strict, safetensors only, from a folder or the Hugging Face Hub."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from octhub.serving import ServingConfig

CONFIG_VERSION = 1
"""Raised when config.json changes in a way that older code would misread."""

DEFAULT_CLASSIFIER = "checkpoints/octnet-oct2017"
"""The classifier that app, command line and tests use unless told otherwise."""

DEFAULT_SEGMENTER = "checkpoints/unet-duke-dme"
"""The segmenter, likewise."""


HUB_ARGUMENTS = ("revision", "token", "cache_dir", "local_files_only", "force_download")
"""What `from_pretrained` passes on to huggingface_hub's downloads."""

BESIDE_PACKAGE = Path(__file__).resolve().parent.parent
"""In a clone of the repository, the folder that holds checkpoints/."""


def locate(source: str | Path) -> str:
    """A checkpoint's folder, or else the Hub repo id that `source` must be.

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
    if ours or isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise CheckpointError(f"{source}: no such folder, expected a checkpoint's folder or a Hub repo 'owner/name'")
    return source


class CheckpointError(ValueError):
    """A checkpoint that can't be found or can't be used; the message says what was found and expected."""


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
    holds the constructor's arguments, `architecture` (the class name) and `config_version`.
    """

    serving: ServingConfig | None

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

        Args:
            dtype: store floating-point tensors in this type (torch.float16 halves the file).
        """
        self._save_dtype = dtype
        config = {
            **self._hub_mixin_config,
            "serving": None if self.serving is None else asdict(self.serving),
            "architecture": type(self).__name__,
            "config_version": CONFIG_VERSION,
        }
        super().save_pretrained(save_directory, config=config, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        dtype = self._save_dtype
        tensors = {
            name: (t.to(dtype) if dtype and t.is_floating_point() else t).detach().cpu().contiguous()
            for name, t in self.state_dict().items()
        }
        save_file(tensors, save_directory / SAFETENSORS_SINGLE_FILE, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs):
        """Load a checkpoint in eval mode, strictly.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub repo "owner/name".
            revision, token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            map_location: the device to load to; "cpu" by default.

        Raises:
            CheckpointError: nothing there, another architecture, missing or extra tensors, a damaged file.
        """
        source = locate(pretrained_model_name_or_path)
        path = _find_config(source, {k: v for k, v in kwargs.items() if k in HUB_ARGUMENTS})
        try:
            cls._check_config(source, json.loads(Path(path).read_text(encoding="utf-8")))
            return super().from_pretrained(source, **kwargs)
        except CheckpointError:
            raise
        except (json.JSONDecodeError, UnicodeDecodeError) as e:
            raise CheckpointError(f"{source}: {CONFIG_NAME} is not JSON: {e}") from e
        except EntryNotFoundError as e:
            raise CheckpointError(f"{source}: the Hub repo has no {SAFETENSORS_SINGLE_FILE}, expected one") from e
        except (TypeError, ValueError, AttributeError) as e:
            raise CheckpointError(f"{source}: {CONFIG_NAME} does not fit {cls.__name__}: {e}") from e

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id,
        revision,
        cache_dir,
        force_download,
        local_files_only,
        token,
        map_location="cpu",
        **model_kwargs,
    ):
        if os.path.isdir(model_id):
            path = os.path.join(model_id, SAFETENSORS_SINGLE_FILE)
        else:
            path = hf_hub_download(
                model_id,
                SAFETENSORS_SINGLE_FILE,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        model = cls(**model_kwargs)
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as e:
            raise CheckpointError(f"{path}: not a whole safetensors file: {e}") from e
        _check_tensors(path, tensors, model.state_dict())
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
        known = {*cls._hub_mixin_init_parameters, "architecture", "config_version"}
        unknown = sorted(set(config) - known)
        if isinstance(serving := config.get("serving"), dict):  # the mixin would pass over unknown fields
            unknown += sorted(f"serving.{key}" for key in set(serving) - {f.name for f in fields(ServingConfig)})
        if unknown:
            raise CheckpointError(f"{model_id}: {CONFIG_NAME} has unknown keys {unknown}")


def _find_config(source: str, hub_kwargs: dict) -> str:
    """The path of a checkpoint's config.json; the mixin would pass over one that can't be had."""
    if os.path.isdir(source):
        missing = [n for n in (CONFIG_NAME, SAFETENSORS_SINGLE_FILE) if not os.path.isfile(os.path.join(source, n))]
        if missing:
            raise CheckpointError(f"{source}: no {' and no '.join(missing)} in this folder")
        return os.path.join(source, CONFIG_NAME)
    try:
        return hf_hub_download(source, CONFIG_NAME, **hub_kwargs)
    except HFValidationError as e:
        raise CheckpointError(f"{source}: neither a folder that exists nor a Hub repo 'owner/name'") from e
    except GatedRepoError as e:
        raise CheckpointError(f"{source}: this Hub repo is gated; ask for access, then `hf auth login`") from e
    except RepositoryNotFoundError as e:
        raise CheckpointError(f"{source}: no such Hub repo, or a private one that needs `hf auth login`") from e
    except RevisionNotFoundError as e:
        raise CheckpointError(f"{source}: the Hub repo has no revision {hub_kwargs.get('revision')!r}") from e
    except LocalEntryNotFoundError as e:
        raise CheckpointError(
            f"{source}: not in the local cache and the Hub can't be reached; "
            f"a folder such as {DEFAULT_CLASSIFIER} works without a network"
        ) from e
    except EntryNotFoundError as e:
        raise CheckpointError(f"{source}: the Hub repo has no {CONFIG_NAME}, expected one") from e
    except HfHubHTTPError as e:
        raise CheckpointError(f"{source}: the Hub answered {str(e).strip().splitlines()[-1]}") from e


def _check_tensors(path: str, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
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
        raise CheckpointError(f"{path}: {'; '.join(problems)}")
