"""The tests check every array annotation of the product while they run it, see `checked_shapes`."""

import pytest
import torch
from jaxtyping import TypeCheckError

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import gather_sum


def test_an_argument_of_another_rank_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="table"):
        gather_sum(torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.int64), torch.ones(3))


def test_two_arguments_that_disagree_about_an_axis_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="indices"):
        gather_sum(torch.ones(2, 1), torch.zeros(3, 1, dtype=torch.int64), torch.ones(3, 4))


def test_a_named_tuple_of_another_dtype_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="indices"):
        SparseCodes(torch.ones(2, 1), torch.zeros(2, 1))
