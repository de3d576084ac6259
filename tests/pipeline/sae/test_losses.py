import pytest
import torch

from pipeline.sae.losses import mean_squared_error, weighted_sum


def test_errors_are_means_over_items_and_channels() -> None:
    prediction, target = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    assert mean_squared_error(prediction, target).item() == pytest.approx((1 + 9 + 16) / 4)


def test_error_of_nothing_is_zero_with_a_gradient() -> None:
    prediction = torch.zeros(0, 3, requires_grad=True)
    mean_squared_error(prediction, torch.zeros(0, 3)).backward()
    assert prediction.grad is not None


def test_items_outside_the_mask_neither_add_nor_dilute() -> None:
    prediction, target = torch.tensor([[1.0, 3.0], [100.0, 100.0]]), torch.zeros(2, 2)
    assert mean_squared_error(prediction, target, torch.tensor([True, False])).item() == 5
    assert mean_squared_error(prediction, target, torch.tensor([False, False])).item() == 0


def test_total_weighs_the_terms_and_reports_them_unweighted_and_detached() -> None:
    term = torch.tensor(3.0, requires_grad=True)
    losses = weighted_sum(
        {"self_vision": term, "alignment": torch.tensor(2.0)}, {"self_vision": 0.5, "alignment": 2.0}
    )
    losses.total.backward()
    assert losses.total.item() == 5.5
    assert term.grad is not None and term.grad.item() == 0.5
    assert losses.terms["self_vision"].item() == 3.0 and not losses.terms["self_vision"].requires_grad
