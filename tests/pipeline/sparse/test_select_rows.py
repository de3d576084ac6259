"""Selected rows of a table and their sparse gradient."""

import pytest
import torch

from pipeline.sparse.select_rows import select_rows


@pytest.mark.parametrize("selected_last", [True, False])
def test_selected_rows_add_their_gradient_to_that_of_the_whole_table(selected_last: bool) -> None:
    table = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    rows, weights = torch.tensor([1, 4]), torch.randn(2, 3, dtype=torch.float64)
    whole = table.square().sum() if selected_last else 0
    total = whole + (select_rows(table, rows) * weights).sum()
    total = total if selected_last else total + table.square().sum()
    total.backward()
    expected = 2 * table.detach()
    expected[rows] += weights
    assert table.grad.layout == torch.strided
    torch.testing.assert_close(table.grad, expected)
