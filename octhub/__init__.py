"""octhub: retinal OCT models, their checkpoints and the demo around them.

The public names are loaded on first use, so that `import octhub` stays cheap.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "OctNet": "octhub.octnet",
    "UNet": "octhub.unet",
    "Classifier": "octhub.predict",
    "Classification": "octhub.predict",
    "Segmenter": "octhub.predict",
    "Segmentation": "octhub.predict",
    "CheckpointError": "octhub.hub",
    "MaskError": "octhub.mask",
    "ScanError": "octhub.scan",
    "ServingConfig": "octhub.serving",
    "read_scan": "octhub.scan",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'octhub' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
