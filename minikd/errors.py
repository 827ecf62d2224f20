"""The exceptions that minikd raises at run time. A wrong argument raises ValueError or TypeError instead."""


class MinikdError(Exception):
    """The base class of all errors at run time. Wrong arguments raise ValueError or TypeError instead.

    Examples
    --------
    >>> import minikd
    >>> try:
    ...     minikd.MLP.load("missing.safetensors")
    ... except minikd.MinikdError as error:
    ...     print(type(error).__name__)
    CheckpointError
    """


class DeviceError(MinikdError):
    """The requested device is not available: no GPU, no CuPy, or no MPI. The message says what to install."""


class DataError(MinikdError):
    """A data set cannot be found, downloaded or read, or its content is not the expected one."""


class CheckpointError(MinikdError):
    """A file cannot be written, is corrupt, was not written by minikd, or belongs to another run."""


class DivergedError(MinikdError):
    """The loss or the parameters are no longer finite, or the loss has grown by a factor of one million."""
