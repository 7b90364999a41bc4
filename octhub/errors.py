"""Errors that a command tells its user, in a file without imports: see octhub.defaults."""


class CheckpointError(ValueError):
    """A checkpoint that can't be found or can't be used; the message says what was found and expected."""


class DeviceError(ValueError):
    """A device that isn't there; the message names it."""
