"""Named errors of the domain. The command line prints them as one line and exits non-zero; anything else is a bug."""


class AdaptError(Exception):
    """Base of every error that is the input's, not the program's: says what, where, and what to do next."""


class FootageError(AdaptError):
    """A video or audio file cannot be used: missing, empty, not media, interlaced, no such stream."""


class OutputError(AdaptError):
    """A result cannot be written: it exists, the folder is not writable, the disk is full, the container differs."""


class TrackingError(AdaptError):
    """A person cannot be tracked: no face, several people and none chosen, too few usable frames."""


class FitError(AdaptError):
    """An actor cannot be fitted from the given footage."""


class DubError(AdaptError):
    """A shot cannot be dubbed as asked."""


class StoreError(AdaptError):
    """A stored file is missing, corrupt or not of the expected kind."""


class StoreVersionError(StoreError):
    """A stored file was written by another version of its format."""


class ConfigError(AdaptError):
    """A setting is unknown, missing or of the wrong type."""
