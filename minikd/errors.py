"""The exceptions of minikd: what goes wrong at run time. A wrong argument is a ValueError or TypeError instead."""


class MinikdError(Exception):
    """Whatever goes wrong at run time, other than a wrong argument."""


class DeviceError(MinikdError):
    """A device that was asked for is not there."""


class DataError(MinikdError):
    """A data set cannot be had, or is not what it should be."""


class CheckpointError(MinikdError):
    """A file cannot be written, or is not a whole and honest minikd file."""


class DivergedError(MinikdError):
    """The loss or the parameters are no longer finite, or the loss has grown a millionfold."""
