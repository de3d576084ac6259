"""What every launch of a kernel asks of Triton's compiler."""

LAUNCH_OPTIONS = {"enable_fp_fusion": True}
"""Multiply and add in one instruction, rounded once. Asked for, because the default differs between versions of
Triton, and the same codes should give the same sums with each."""
