# What all three libraries share. Importing lsnet_mm registers the networks and makes mmcv usable
# where it has no compiled ops.
custom_imports = dict(imports=["lsnet_mm"], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),  # the tools take gloo where there is no GPU
)
log_level = "INFO"
load_from = None
resume = False
