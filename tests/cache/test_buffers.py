import pytest
import torch

from cache.reading.buffers import RecycledBuffers

MEGABYTE = 1 << 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_tensors_have_the_shape_and_dtype_asked_for(dtype):
    tensor = RecycledBuffers()((3, MEGABYTE), dtype)
    assert tensor.shape == (3, MEGABYTE) and tensor.dtype == dtype and tensor.is_contiguous()


def test_memory_is_used_again_once_nobody_refers_to_it():
    allocate = RecycledBuffers()
    first = allocate((MEGABYTE,), torch.float32)
    place, part = first.data_ptr(), first[5:]
    del first
    second = allocate((MEGABYTE,), torch.float32)
    assert second.data_ptr() != place  # `part` still refers to it
    del part
    assert allocate((MEGABYTE - 7,), torch.float32).data_ptr() == place


def test_memory_of_other_sizes_does_not_pile_up():
    allocate = RecycledBuffers()
    for exponent in range(20, 26):
        allocate((1 << exponent,), torch.uint8)
    assert len(allocate._unused) == 1
