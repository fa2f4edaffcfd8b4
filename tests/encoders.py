"""Tiny random encoders in folders of their own, with a tokenizer of whole words."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    FNetConfig,
    FNetModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

WORDS = (
    *("the", "a", "cat", "dog", "sat", "ran", "on", "mat", "hat", "big", "red", ",", "."),
    *("old", "man", "saw", "he", "she", "fed", "his", "her", "bird", "tree"),
)


def tokenizer():
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS]
    backend = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    marks = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=40, **marks)


def save_encoder(folder: Path, kind: str = "bert") -> Path:
    """A random model whose weights are large enough that attention is far from uniform."""
    torch.manual_seed(0)
    words, n = tokenizer(), len(WORDS) + 4
    shape = {"vocab_size": n, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    heads = {"num_attention_heads": 2, "max_position_embeddings": 40}
    model = {
        "bert": lambda: BertModel(BertConfig(**shape, **heads)),
        "distilbert": lambda: DistilBertModel(
            DistilBertConfig(vocab_size=n, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40)
        ),
        "fnet": lambda: FNetModel(FNetConfig(**shape)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=n, n_embd=16, n_layer=2, n_head=2)),
    }[kind]()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
