"""The tests check every array annotation of the product while they run it, see `checked_shapes`."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import gather_sum
from pipeline.sparse.top_k import fits_kernel
from tests.checked_shapes import check_arrays


def test_an_argument_of_another_rank_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="table"):
        gather_sum(torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.int64), torch.ones(3))


def test_two_arguments_that_disagree_about_an_axis_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="indices"):
        gather_sum(torch.ones(2, 1), torch.zeros(3, 1, dtype=torch.int64), torch.ones(3, 4))


def test_a_named_tuple_of_another_dtype_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="indices"):
        SparseCodes(torch.ones(2, 1), torch.zeros(2, 1))


def test_a_result_that_disagrees_with_an_argument_about_an_axis_is_refused() -> None:
    @jaxtyped(typechecker=check_arrays)
    def first_rows(table: Float[Tensor, "row channel"], rows: int) -> Float[Tensor, "row channel"]:
        return table[:rows]

    assert first_rows(torch.ones(3, 2), 3).shape == (3, 2)
    with pytest.raises(TypeCheckError, match="return value"):
        first_rows(torch.ones(3, 2), 2)


def test_functions_that_state_no_arrays_are_called_unchecked_and_all_others_checked() -> None:
    assert getattr(SparseCodes.__new__, "__wrapped__", None) is not None
    assert not hasattr(gather_sum.__wrapped__, "__no_type_check__")
    assert fits_kernel.__wrapped__.__no_type_check__
