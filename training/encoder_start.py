"""What a segmenter's encoder starts from: ImageNet's weights, an encoder that was pretrained here, or nothing."""

from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from training.samples import DataError

IMAGENET, RANDOM = "imagenet", "random"


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
        return load_file(path), path.name
    except (OSError, SafetensorError) as e:
        raise DataError(f"{path}: {e}; expected imagenet, random, or the safetensors file of an encoder") from e
