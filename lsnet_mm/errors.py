"""Errors a user can mend: the tools print their message alone, without a traceback."""


class InputError(ValueError):
    """Something given to the toolkit does not fit: the message names it, and the way out."""


class CheckpointError(InputError):
    """A checkpoint file that cannot be read, or does not hold the network it is loaded into."""
