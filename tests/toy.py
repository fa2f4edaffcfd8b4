"""A small trained model and its text, for training dictionaries on; as a program, one such training to be killed."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from clew.subject.subject import Subject
from clew.training import DictionaryConfig, Documents, encode_documents, train_dictionary, trainer
from clew.training.activations import collect
from clew.training.run_state import RunState

VOCAB, D, L = 40, 24, 3
SMALL = DictionaryConfig(features=64, k=4, steps=30, batch=128, learning_rate=5e-3, precision="float32")
BUFFER = 512


class Marks:
    """As much of a tokenizer as ids need: token 0 begins a document."""

    all_special_ids = (0,)
    bos_token_id = 0

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [0] * add_special_tokens + [1] * len(text)}


def sentences(n: int, generator: torch.Generator, length: int = 12) -> Tensor:
    """Documents in which every token depends on the one before."""
    ids = torch.zeros(n, length, dtype=torch.long)
    ids[:, 1] = torch.randint(1, VOCAB, (n,), generator=generator)
    for t in range(2, length):
        ids[:, t] = (ids[:, t - 1] * 7 + torch.randint(0, 3, (n,), generator=generator)) % (VOCAB - 1) + 1
    return ids


def shaken(run: RunState, much: float, seed: int = 0) -> RunState:
    """The run with noise on all its weights, so that nothing is zero or as it began."""
    g = torch.Generator().manual_seed(seed)
    for own in run.layers:
        for name, rows in own.rows.items():
            noise = torch.randn(rows.weight.shape, generator=g)
            rows.weight.add_(much * noise * (1 if name in ("bias", "log_threshold") else rows.weight.std()))
        own.norm.copy_(own.decoder.weight.norm(dim=1))
    for rows in (run.decoder_bias, run.skip):
        rows.weight.add_(0.1 * torch.randn(rows.weight.shape, generator=g))
    return run


def untrained_run(subject: Subject, documents: Documents) -> RunState:
    """A run with a skip connection whose features are random, and fire."""
    run = RunState(L, D, replace(SMALL, skip=True))
    run.fit_scales([collect(subject, documents, torch.arange(20), "mlp_in", "mlp_raw_out")])
    g = torch.Generator().manual_seed(0)
    for own in run.layers:
        own.decoder.weight.mul_(5)
        own.norm.copy_(own.decoder.weight.norm(dim=1))
        own.bias.weight.copy_(0.1 * torch.randn(own.bias.weight.shape, generator=g))
    run.skip.weight.copy_(0.1 * torch.randn(run.skip.weight.shape, generator=g))
    return run


def trained_subject() -> Subject:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=16,
        n_embd=D,
        n_layer=L,
        n_head=2,
        activation_function="relu",
        bos_token_id=0,
        eos_token_id=0,
    )
    model, generator = GPT2LMHeadModel(config).eval(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(40):
        ids = sentences(32, generator)
        logits = model(ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.requires_grad_(False)
    return Subject(model, Marks(), "toy")  # type: ignore[arg-type]


def documents_of(subject: Subject) -> Documents:
    return encode_documents(subject, list(sentences(200, torch.Generator().manual_seed(1))))


def main() -> None:
    """Train in a folder, from its checkpoint if it has one, saying every step; half of the time goes into those."""
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    config = DictionaryConfig(**(vars(SMALL) | {"steps": steps, "precision": "bfloat16"}))
    torch.set_num_threads(2)
    trainer.CHECKPOINT_EVERY, trainer.DEAD_AFTER = 3, 1000
    subject = trained_subject()
    resume = (folder / "checkpoint.safetensors").exists()
    for report in train_dictionary(
        subject, documents_of(subject), config, folder, resume=resume, buffer=BUFFER, report_every=1
    ):
        print(report.step, flush=True)


if __name__ == "__main__":
    main()
