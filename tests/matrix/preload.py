"""What cases' processes share: the libraries, imported once."""

from importlib import import_module

import_module("tests.matrix.run")
for _library in ("mmdet", "mmpretrain", "mmseg"):
    import_module(f"{_library}.datasets")
    import_module(f"{_library}.models")
