"""Which device a model runs on."""

import torch

from octhub.errors import DeviceError


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The named device, or the best there is: "cuda", else "mps" on a Mac that has it, else "cpu".

    Raises:
        DeviceError: no such device here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as e:  # AssertionError: a torch without CUDA
        raise DeviceError(
            f"device {str(name)!r} can't be used here ({str(e).splitlines()[0]}), expected cpu, cuda or mps"
        ) from e
