"""Errors a user can mend: the tools print their message alone, without a traceback."""


class InputError(ValueError):
    """Something given to the toolkit does not fit: the message names it, and the way out."""


class CheckpointError(InputError):
    """A checkpoint file that cannot be read, or does not hold the network it is loaded into."""


class DataError(InputError):
    """Data that turns out to be bad in the midst of a run, perhaps in one process of several.

    A data loader's worker hands it on with its whole traceback: the message is without.
    """

    def __str__(self) -> str:
        return super().__str__().rpartition(f"{__name__}.{type(self).__name__}: ")[2].rstrip()
