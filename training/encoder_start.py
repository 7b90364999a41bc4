"""What a segmenter's encoder starts from: ImageNet's weights, an encoder that was pretrained here, or nothing."""

import json
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from training.samples import DataError, sha256

IMAGENET, RANDOM = "imagenet", "random"

RECORD = "encoder.json"
"""Beside a pretrained encoder: what it was trained on."""


def encoder_start(source: str, backbone: str, in_chans: int) -> tuple[dict[str, torch.Tensor] | None, str]:
    """The tensors to start from, named as timm names them (None: at random), and what to call the start.

    Args:
        source: IMAGENET, RANDOM, or the file that training.pretrain_encoder wrote. ImageNet's weights are downloaded;
            where that fails, the start is random, and the name says why.
        backbone: name of the timm model.

    Raises:
        DataError: no such file, or not a safetensors file.
    """
    if source == RANDOM:
        return None, RANDOM
    if source == IMAGENET:
        try:
            model = timm.create_model(backbone, pretrained=True, features_only=True, in_chans=in_chans)
        except Exception as e:  # whatever the network or the Hub's client has to say
            reason = str(e).strip().splitlines()[0][:120]
            return None, (
                f"random: ImageNet's weights for {backbone} can't be downloaded ({type(e).__name__}: {reason}); "
                "training.pretrain_encoder makes some from OCT scans"
            )
        return model.state_dict(), IMAGENET
    path = Path(source)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as e:
        raise DataError(f"{path}: {e}; expected imagenet, random, or the safetensors file of an encoder") from e
    record = path.with_name(RECORD)
    task = json.loads(record.read_text(encoding="utf-8"))["task"] if record.is_file() else "an unknown task"
    return tensors, f"an encoder pretrained on {task} (sha256 {sha256(path)[:16]})"
