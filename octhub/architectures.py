"""Load a checkpoint of whichever architecture it is."""

import json
import os
from pathlib import Path

from huggingface_hub.constants import CONFIG_NAME

from octhub.download import DownloadError, HubSource, download
from octhub.hub import CheckpointError, locate
from octhub.octnet import OctNet
from octhub.unet import UNet

ARCHITECTURES: dict[str, type[OctNet] | type[UNet]] = {"OctNet": OctNet, "UNet": UNet}
"""By the name that config.json has."""


def load(source: str | Path) -> OctNet | UNet:
    """A checkpoint's model, of whichever architecture its config.json names.

    Args:
        source: a folder, or a Hub repo "owner/name" or "owner/name@revision".

    Raises:
        CheckpointError: it can't be loaded.
    """
    place = locate(source)
    try:
        folder = Path(place) if os.path.isdir(place) else download(HubSource.parse(place), (CONFIG_NAME,))
        architecture = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))["architecture"]
        model = ARCHITECTURES[architecture]
    except DownloadError as e:
        raise CheckpointError(str(e)) from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise CheckpointError(
            f"{source}: {CONFIG_NAME} names no architecture of {', '.join(ARCHITECTURES)} ({type(e).__name__} {e})"
        ) from e
    return model.from_pretrained(source)
