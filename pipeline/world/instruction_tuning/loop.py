"""The training loop of the tiny LLaVA: short steps of its projector and its decoder, with checkpoints."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.language_models.examples import Example
from pipeline.runs.checkpoint import LossRecord, Progress, TrainingState, load_checkpoint, save_checkpoint
from pipeline.world.instruction_tuning.attention import use_explicit_attention
from pipeline.world.instruction_tuning.conversations import (
    IGNORED,
    Tokens,
    draw_conversation,
    tokenize_conversations,
    visible,
)
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.pretraining.optimizer import scheduled, set_learning_rate

LOG_EVERY = 10
CHECKPOINT_EVERY = 50
_GRADIENT_NORM = 1.0


def tune(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    examples: Sequence[Example],
    features: Float[Tensor, "image patch channel"],
    options: InstructionTuningOptions,
    checkpoint: Path,
    report: Callable[[LossRecord], None] = lambda record: None,
) -> list[LossRecord]:
    """Train projector and decoder in place, to the same result every time; the vision tower stays as it is.

    Training continues from `checkpoint`, if it is of these options.

    Args:
        model: as `align_with_siglip` leaves it.
        processor: its tokenizer makes tokens of conversations.
        examples: what the training pictures show, and their captions.
        features: of these pictures, from `image_features`.
        options: see `InstructionTuningOptions`.
        checkpoint: a file, written every `CHECKPOINT_EVERY` steps.
        report: receives a record every `LOG_EVERY` steps: the step, and the mean losses since the last record of a
            caption's word and of "yes" or "no".

    Returns:
        All records.
    """
    use_explicit_attention(model)
    optimizer = _optimizer(model, options)
    state, identity = TrainingState({"model": model}, [optimizer]), options.model_dump(mode="json")
    first, history = load_checkpoint(checkpoint, identity, state)
    verdicts = torch.tensor(processor.tokenizer.convert_tokens_to_ids(["yes", "no"]))
    recent: list[Tensor] = []
    model.train()
    for step in range(first, options.steps):
        rng = random.Random(f"{options.seed}/{step}")
        rows = rng.sample(range(len(examples)), options.images)
        turns = [draw_conversation(examples[row], options, rng) for row in rows]
        tokens = tokenize_conversations(turns, processor, features.shape[1])
        set_learning_rate([optimizer], options.learning_rate * scheduled(step, options.schedule()))
        recent.append(
            _step(model, optimizer, tokens, features[rows].float(), verdicts, options.caption_weight)
        )
        if (step + 1) % LOG_EVERY == 0:
            word, verdict = torch.stack(recent).mean(0).tolist()
            history.append({"step": step + 1, "word_loss": round(word, 4), "yes_no_loss": round(verdict, 4)})
            recent = []
            report(history[-1])
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(checkpoint, identity, state, Progress(step + 1, history))
    model.train(False)
    return history


def answer_losses(
    model: LlavaForConditionalGeneration,
    tokens: Tokens,
    features: Float[Tensor, "image patch channel"],
    verdicts: Tensor,
) -> tuple[Float[Tensor, " answer_token"], Bool[Tensor, " answer_token"]]:
    """Compute the cross-entropy of every answer token of the batch, and which of them are among `verdicts`.

    The picture enters by its features, not by its pixels.
    """
    first = int((tokens.input_ids[0] == model.config.image_token_id).int().argmax())
    words = model.get_input_embeddings()(tokens.input_ids)
    with torch.autocast("cpu", torch.bfloat16):
        patches = model.model.multi_modal_projector(features).float()
        states = model.model.language_model(
            inputs_embeds=torch.cat([words[:, :first], patches, words[:, first + patches.shape[1] :]], dim=1),
            attention_mask=torch.where(visible(tokens), 0.0, -torch.inf),
            position_ids=tokens.position,
            use_cache=False,
        ).last_hidden_state
    predicts = tokens.labels[:, 1:] != IGNORED
    targets = tokens.labels[:, 1:][predicts]
    logits = model.lm_head(states[:, :-1][predicts].float())
    return cross_entropy(logits, targets, reduction="none"), torch.isin(targets, verdicts)


def _optimizer(model: nn.Module, options: InstructionTuningOptions) -> torch.optim.AdamW:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _step(
    model: LlavaForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    tokens: Tokens,
    features: Tensor,
    verdicts: Tensor,
    caption_weight: float,
) -> Float[Tensor, "2"]:
    """Update once; returns the mean losses of words and of verdicts before it."""
    losses, of_verdict = answer_losses(model, tokens, features, verdicts)
    means = torch.stack([losses[~of_verdict].mean(), losses[of_verdict].mean()])
    torch.autograd.backward(caption_weight * means[0] + means[1])
    torch.nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return means.detach()
