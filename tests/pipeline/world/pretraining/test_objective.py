import math

import torch
from torch.nn.functional import normalize

from pipeline.world.pretraining.facts import ScoredTruth
from pipeline.world.pretraining.objective import Features, Truth, TwoScaleLoss, changed_loss, sigmoid_loss


def _log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


def test_the_sigmoid_loss_is_siglips_sum_over_scored_texts_averaged_over_rows() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.3, 2.0, -1.0]], dtype=torch.float64)
    true = torch.tensor([[True, False, True], [False, False, True]])
    scored = torch.tensor([[True, True, False], [True, True, True]])
    expected = 0.0
    for row in range(2):
        for text in range(3):
            if scored[row, text]:
                expected -= _log_sigmoid(float(logits[row, text]) * (1 if true[row, text] else -1)) / 2
    assert math.isclose(float(sigmoid_loss(logits, ScoredTruth(true, scored))), expected, rel_tol=1e-12)


def test_a_changed_caption_costs_by_how_much_closer_it_is_than_the_true_one() -> None:
    features = _features()
    scored = torch.tensor([[True, False], [True, True]])
    expected, count = 0.0, 0
    for image in range(2):
        own = float(features.images[image] @ features.captions[image])
        for change in range(2):
            if scored[image, change]:
                other = float(features.images[image] @ features.changed[image, change])
                expected -= _log_sigmoid(7.0 * (own - other))
                count += 1
    loss = changed_loss(features, scored, torch.tensor(7.0))
    assert math.isclose(float(loss), expected / count, rel_tol=1e-5)


def test_every_term_reaches_every_tower_and_its_own_scale() -> None:
    features = Features(*(part.requires_grad_() for part in _features()))
    objective = TwoScaleLoss()
    truth = Truth(
        changed=torch.ones(2, 2, dtype=torch.bool),
        images=ScoredTruth(torch.eye(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)),
        patches=ScoredTruth(torch.eye(4, 3, dtype=torch.bool), torch.ones(4, 3, dtype=torch.bool)),
    )
    scale, bias = torch.tensor(10.0, requires_grad=True), torch.tensor(-10.0, requires_grad=True)
    terms = objective(features, truth, scale, bias)
    assert set(terms) == {"caption", "changed", "image_phrase", "patch_phrase"}
    torch.stack(list(terms.values())).sum().backward()
    for tensor in (*features, *objective.parameters(), scale, bias):
        assert tensor.grad is not None
        assert tensor.grad.abs().min() > 0


def _features() -> Features:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 6), (2, 6), (2, 2, 6), (3, 6), (4, 6))
    return Features(*(normalize(torch.randn(shape, generator=generator), dim=-1) for shape in shapes))
