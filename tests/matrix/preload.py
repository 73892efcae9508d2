"""What cases' processes share: the libraries, imported once."""

from importlib import import_module

for _name in ("tests.matrix.run", "mmdet.models", "mmpretrain.models", "mmseg.models"):
    import_module(_name)
