"""Errors a user can mend: the tools print their message alone, without a traceback."""


class InputError(ValueError):
    """Something given to the toolkit does not fit: the message names it, and the way out."""


class CheckpointError(InputError):
    """A checkpoint file that cannot be read, or does not hold the network it is loaded into."""


class UnsafeFileError(CheckpointError):
    """A file that was not loaded, as loading it could run a program hidden in it.

    Args:
        name: Of the file.
        needs: What in it is more than data.
    """

    def __init__(self, name: str, needs: str) -> None:
        super().__init__(
            f"{name} was not loaded: it needs {needs}, and loading that could run a program hidden "
            "in the file. If you trust where the file comes from, --trust-checkpoint (in Python "
            "trust_checkpoint=True) loads it all the same"
        )


class DataError(InputError):
    """Data that turns out to be bad in the midst of a run, perhaps in one process of several.

    A data loader's worker hands it on with its whole traceback: the message is without.
    """

    def __str__(self) -> str:
        return super().__str__().rpartition(f"{__name__}.{type(self).__name__}: ")[2].rstrip()
