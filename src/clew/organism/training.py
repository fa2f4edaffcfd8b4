"""Training of the small world's model from random weights.

1. Draw the corpus, train the tokenizer, encode every document as `<bos> document <eos>`.
2. A step takes the next documents of the epoch's random order, sorts them by length, and cuts them into a few padded
   parts; its loss is the mean cross-entropy over all their tokens, so the parts do not show in the gradient.
3. AdamW with warm-up, then a learning rate that falls in a straight line to zero.
4. Every few minutes one file holds weights, optimiser and step. Which documents a step sees depends on seed and step
   alone, so a resumed run takes the same steps as one that was never stopped.
5. At the end the weights are rounded to float16 and saved in the Hugging Face layout.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from clew import files
from clew.errors import FileError, InputError, MismatchError
from clew.organism.tokenizer import train_tokenizer
from clew.organism.world import STATEMENTS, World
from clew.progress import Progress

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

CONTEXT = 128
"""Positions of the model."""

PARTS = 5
"""Padded parts that the documents of a step are cut into."""

CHECKPOINT_SCHEMA = "clew-organism-checkpoint-1"

REPORT_EVERY = 25
"""Steps between two reports."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the small world's model is trained; its MLPs are four times as wide as `n_embd`.

    InputError when a size is below 1, the heads do not divide the width, or the precision is unknown.
    """

    seed: int = 0
    """Seed of the world, the weights and the order of the documents."""
    statements: int = STATEMENTS
    """Statements in the corpus."""
    steps: int = 3_800
    """Optimiser steps."""
    documents: int = 400
    """Documents in one step; about 22 tokens each."""
    n_layer: int = 6
    """Transformer blocks."""
    n_embd: int = 128
    """Width of the residual stream."""
    n_head: int = 4
    """Attention heads in a block."""
    learning_rate: float = 3e-3
    """Peak of the learning rate."""
    warmup: int = 100
    """Steps until the learning rate reaches its peak, from which it falls linearly to zero."""
    weight_decay: float = 0.05
    """AdamW's decay of every matrix."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of the forward and backward passes; weights and optimiser stay in float32."""
    checkpoint_seconds: float = 120.0
    """Seconds between two checkpoints."""

    def __post_init__(self) -> None:
        for name in ("statements", "steps", "documents", "n_layer", "n_embd", "n_head"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")
        if self.precision not in ("bfloat16", "float32"):
            raise InputError(f"precision must be bfloat16 or float32, not {self.precision!r}")


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """The state of training after a step: loss in nats per token, averaged since the last report."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    tokens: int
    """Since the last report."""
    tokens_per_second: float
    seconds: float

    @property
    def progress(self) -> Progress:
        """How far training is."""
        note = f"{self.tokens_per_second:,.0f} tokens/s"
        return Progress(what="training", done=self.step, of=self.steps, note=note)


def train(
    config: TrainingConfig, folder: Path | str, *, resume: bool = True, stop: Callable[[], bool] | None = None
) -> Iterator[StepReport]:
    """Train the model and save it into `folder`/model, yielding reports; it runs as these are consumed.

    With `resume`, continues from the folder's checkpoint. When `stop`, which is called after every step, returns True,
    a checkpoint is saved and training ends without a model. MismatchError when the checkpoint is of another
    configuration, FileError when it is damaged and while another process trains in the folder.
    """
    with files.lock_folder(folder, "training of the small world's model"):
        yield from _train(config, Path(folder), resume, stop)


def _train(config: TrainingConfig, folder: Path, resume: bool, stop: Callable[[], bool] | None) -> Iterator[StepReport]:
    world = World(seed=config.seed, n_statements=config.statements)
    tokenizer = train_tokenizer(world)
    corpus = encode_documents(tokenizer, world.corpus().documents)
    model = build_model(config, len(tokenizer))
    optimizer = _optimizer(model, config)
    first = _restore(folder, config, model, optimizer) if resume else 0
    started = saved = reported = time.monotonic()
    loss, tokens, losses = 0.0, 0, []
    for step in range(first, config.steps):
        if step & (step - 1) == 0:
            _snapshot(folder, step, model)
        loss, n_tokens = _step(model, optimizer, corpus, config, step)
        tokens += n_tokens
        losses.append(loss)
        now = time.monotonic()
        stopped = stop is not None and stop()
        if stopped or now - saved > config.checkpoint_seconds:
            _checkpoint(folder, config, step + 1, model, optimizer)
            saved = now
        if stopped or (step + 1) % REPORT_EVERY == 0 or step + 1 == config.steps:
            yield StepReport(
                step=step + 1,
                steps=config.steps,
                loss=sum(losses) / len(losses),
                learning_rate=learning_rate(config, step),
                tokens=tokens,
                tokens_per_second=tokens / max(now - reported, 1e-9),
                seconds=now - started,
            )
            reported, tokens, losses = now, 0, []
        if stopped:
            return
    _checkpoint(folder, config, config.steps, model, optimizer)
    _save(folder, config, model, tokenizer, loss)


def build_model(config: TrainingConfig, vocabulary: int) -> "GPT2LMHeadModel":
    """Return a GPT-2 with ReLU MLPs, tied embeddings and no dropout, its weights drawn from the seed.

    Attention is not fused: on a CPU and on sentences this short, fused attention trains less than half as fast.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_positions=CONTEXT,
                n_layer=config.n_layer,
                n_embd=config.n_embd,
                n_head=config.n_head,
                n_inner=4 * config.n_embd,
                activation_function="relu",
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=0,
                eos_token_id=1,
            )
        )
    model.set_attn_implementation("eager")
    return model


def encode_documents(tokenizer: "PreTrainedTokenizerFast", documents: tuple[str, ...]) -> list[np.ndarray]:
    """Encode every document as `<bos> document <eos>`; InputError if one is longer than the model's context."""
    encoded = []
    for start in range(0, len(documents), 20_000):
        for ids in tokenizer(list(documents[start : start + 20_000]), add_special_tokens=False)["input_ids"]:
            if len(ids) + 2 > CONTEXT:
                raise InputError(f"a document has {len(ids)} tokens; the model reads {CONTEXT - 2} between its marks")
            encoded.append(np.array([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id], dtype=np.int32))
    return encoded


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: linear up to the peak, then linear down to zero at the end."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    return config.learning_rate * (config.steps - step) / max(config.steps - config.warmup, 1)


def documents_of_step(n_documents: int, config: TrainingConfig, step: int) -> np.ndarray:
    """Return the documents that a step sees; every epoch sees each document once, in its own random order."""
    places = np.arange(step * config.documents, (step + 1) * config.documents)
    epochs = places // n_documents
    return np.concatenate(
        [
            _order(n_documents, config.seed, int(epoch))[places[epochs == epoch] % n_documents]
            for epoch in np.unique(epochs)
        ]
    )


@lru_cache(maxsize=2)
def _order(n_documents: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n_documents)


def padded_parts(rows: list[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows as a few right-padded parts of about equal size: token ids, and which of them are real."""
    rows = sorted(rows, key=len)
    ends = np.cumsum([len(row) for row in rows])
    cuts = [0, *np.searchsorted(ends, ends[-1] * np.arange(1, PARTS) / PARTS).tolist(), len(rows)]
    for start, stop in pairwise(cuts):
        part = rows[start:stop]
        if not part:
            continue
        ids = np.zeros((len(part), len(part[-1])), dtype=np.int64)
        real = np.zeros(ids.shape, dtype=bool)
        for index, row in enumerate(part):
            ids[index, : len(row)] = row
            real[index, : len(row)] = True
        yield torch.from_numpy(ids), torch.from_numpy(real)


def _step(
    model: "GPT2LMHeadModel",
    optimizer: torch.optim.Optimizer,
    corpus: list[np.ndarray],
    config: TrainingConfig,
    step: int,
) -> tuple[float, int]:
    """Take one optimiser step; return its loss in nats per token and the number of tokens predicted."""
    rows = [corpus[index] for index in documents_of_step(len(corpus), config, step)]
    n_tokens = sum(len(row) - 1 for row in rows)
    total = 0.0
    for ids, real in padded_parts(rows):
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            states = model.transformer(input_ids=ids[:, :-1]).last_hidden_state
            logits = model.lm_head(states[real[:, 1:]])
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][real[:, 1:]], reduction="sum") / n_tokens
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, n_tokens


def _optimizer(model: "GPT2LMHeadModel", config: TrainingConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def _checkpoint(
    folder: Path, config: TrainingConfig, step: int, model: "GPT2LMHeadModel", optimizer: torch.optim.AdamW
) -> None:
    """Write weights, optimiser and step into one file."""
    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    note = {"schema": CHECKPOINT_SCHEMA, "step": str(step), "config": repr(_weight_settings(config))}
    files.save_tensors(folder / "checkpoint.safetensors", tensors, note)


def _restore(folder: Path, config: TrainingConfig, model: "GPT2LMHeadModel", optimizer: torch.optim.AdamW) -> int:
    """Load the folder's checkpoint, if there is one, and return the step to continue from.

    FileError when it is damaged, none or of another schema, MismatchError when it is of another configuration.
    """
    path = folder / "checkpoint.safetensors"
    files.clear_temporaries(path)
    if not path.exists():
        return 0
    note = files.load_note(path)
    if note.get("schema") != CHECKPOINT_SCHEMA:
        raise FileError(
            f"{path} has schema {note.get('schema')!r}, this program reads {CHECKPOINT_SCHEMA!r}: train into another "
            "folder, or start anew without resuming"
        )
    if note.get("config") != repr(_weight_settings(config)):
        raise MismatchError(
            f"{path} was written with another configuration; train into another folder, or start anew without resuming"
        )
    tensors = files.load_tensors(path)
    try:
        for name, parameter in model.named_parameters():
            _check_shape(path, name, tensors[f"weight.{name}"], parameter.shape)
            state = {key: tensors[f"optimizer.{key}.{name}"].clone() for key in ("step", "exp_avg", "exp_avg_sq")}
            for key, value in state.items():
                _check_shape(path, f"{key} of {name}", value, torch.Size([]) if key == "step" else parameter.shape)
            parameter.data.copy_(tensors[f"weight.{name}"])
            optimizer.state[parameter] = state
        return int(note["step"])
    except (KeyError, ValueError) as error:
        raise FileError(f"{path} is damaged ({error}): train into another folder, or start anew") from error


def _check_shape(path: Path, name: str, tensor: Tensor, shape: torch.Size) -> None:
    if tensor.shape != shape:
        raise FileError(f"{path} is damaged: {name} is {list(tensor.shape)}, not {list(shape)}")


def _weight_settings(config: TrainingConfig) -> dict[str, Any]:
    """Return the part of the configuration on which the weights depend."""
    fields = dataclasses.asdict(config)
    del fields["checkpoint_seconds"]
    return fields


def _snapshot(folder: Path, step: int, model: "GPT2LMHeadModel") -> None:
    """Save the weights of this step in float16, for studies of how the model develops."""
    weights = {name: parameter.detach().half() for name, parameter in model.named_parameters()}
    files.save_tensors(folder / "snapshots" / f"step-{step:06d}.safetensors", weights, {"step": str(step)})


def _save(
    folder: Path,
    config: TrainingConfig,
    model: "GPT2LMHeadModel",
    tokenizer: "PreTrainedTokenizerFast",
    loss: float,
) -> None:
    """Write the model in float16 with its tokenizer, and a record of its training."""
    with files.new_folder(folder / "model") as temporary:
        model.config.pad_token_id = tokenizer.pad_token_id
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    model.float()
    record = {
        "schema": "clew-organism-training-1",
        "config": dataclasses.asdict(config),
        "loss_nats_per_token": loss,
        **files.provenance(),
    }
    files.write_json(folder / "training.json", record)
