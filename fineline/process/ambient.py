"""What a shell left behind that would change what is computed: only recorded parameters decide, so it is unset and named.

accelerate, torch and its libraries read settings from the environment, which no manifest records: with a left-over
ACCELERATE_MIXED_PRECISION=bf16 a training computes in bf16 while its manifest says fp32.
"""

import os

_PREFIXES = ("ACCELERATE_", "FSDP_", "MEGATRON_LM", "PARALLELISM_CONFIG_")
"""accelerate: precision, gradient accumulation and clipping, devices, compilation, sharding (accelerate/utils/dataclasses.py)."""

_NAMES = (
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),  # products in TF32, or not
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),  # products of fp32 in bf16 on CPUs
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),  # which instructions, and so in which order
    *("PYTORCH_TUNABLEOP_ENABLED", "TRANSFORMERS_SDPA_FORCE_GQA"),
    *("XLA_USE_BF16", "XLA_DOWNCAST_BF16"),
)


def forget() -> list[str]:
    """Unsets what is set of them, for this process and its children; gives the names. Before torch is imported."""
    found = sorted(name for name in os.environ if name.startswith(_PREFIXES) or name in _NAMES)
    for name in found:
        del os.environ[name]
    return found
