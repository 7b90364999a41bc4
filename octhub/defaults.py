"""Which checkpoints are used unless others are named. Without imports, so that `octhub --help` waits for no library."""

DEFAULT_CLASSIFIER = "checkpoints/octnet-oct2017"
"""The classifier that app, command line and tests use unless told otherwise."""

DEFAULT_SEGMENTER = "checkpoints/unet-duke-dme"
"""The segmenter, likewise."""
