"""Models of one name are told apart by their weights."""

import torch

from clew.subject import Subject
from tests import models


def test_a_model_that_is_saved_and_loaded_is_the_same_one_and_one_changed_weight_makes_another(tmp_path):
    subject = Subject.load(models.model("llama", torch.float32), models.tokenizer())
    subject.model.save_pretrained(tmp_path)
    models.tokenizer().save_pretrained(tmp_path)
    again = Subject.load(tmp_path)
    assert again.weights_hash() == subject.weights_hash()
    with torch.no_grad():
        again.model.model.layers[1].mlp.up_proj.weight[3, 2] += 1e-3
    assert again.weights_hash() != subject.weights_hash()


def test_two_layers_with_each_others_weights_make_another_model():
    subject = models.subject("llama")
    before = subject.weights_hash()
    layers = subject.model.model.layers
    layers[0], layers[1] = layers[1], layers[0]
    assert subject.weights_hash() != before
