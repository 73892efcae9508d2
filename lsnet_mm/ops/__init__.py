"""The LS convolution's operator. Needs torch alone; Triton is used where there is one."""

from .ska import SKA, ska

__all__ = ["SKA", "ska"]
