"""Errors of the trainer: what was wrong, in which field or file, and what to do about it."""

from __future__ import annotations


class TrainerError(Exception):
    """Base of every error whose message is meant for the person who runs the training."""


class ConfigError(TrainerError):
    """The TOML or an override names something that does not exist or is out of bounds."""


class DataError(TrainerError):
    """A pairs or prompts file is missing, empty or holds something that cannot be trained on."""


class ModelError(TrainerError):
    """A model folder cannot be loaded, or would be published in a form that cannot be served."""


class DivergedError(TrainerError):
    """A loss or a gradient became NaN or infinite."""


class CheckpointError(TrainerError):
    """A checkpoint cannot be written, or it is from a training that was laid out in another way."""


class Cancelled(BaseException):
    """SIGTERM arrived. A BaseException, so that no `except Exception` on the way out keeps it."""


class NobodyReads(BaseException):
    """Whoever read stdout has closed it, as `head` does. A BaseException for the same reason."""
