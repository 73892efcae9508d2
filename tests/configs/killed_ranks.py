# The classifier of killed_epochs.py, trained by processes of which the second dies twice.
_base_ = "killed_epochs.py"

custom_imports = dict(imports=["lsnet_mm", "tests.engine.dying"], allow_failed_imports=False)
custom_hooks = [*_base_.custom_hooks, dict(type="DieHook", rank=1, iterations=(3, 5))]
