"""A Dictionary is used with the model that it was made for: weights decide, names where no weights are recorded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import clew
from clew.dictionary import Dictionary, save_circuit_tracer
from clew.dictionary.origin import OTHER
from clew.errors import InputError, MismatchError
from clew.features.atlas import Atlas
from clew.harvest.write_atlas import harvest
from clew.intervention.edit import Edit
from clew.intervention.generate import generate
from clew.intervention.run import effects
from clew.search.queries import firing
from clew.subject.subject import Subject
from clew.training import encode_documents
from tests import models
from tests.models import PROMPT


def llama(name: str = "x", **changes: Any) -> Subject:
    return Subject(models.model("llama", torch.float32, **changes), models.tokenizer(), name)


@pytest.fixture(scope="module")
def trained() -> Dictionary:
    """One that recorded its model's weights."""
    subject = llama("mine")
    dictionary = models.dictionary("plt", subject, dtype=torch.float32)
    return replace(dictionary, provenance={"model": "mine"}).of_model(subject)


def named(name: str | None) -> Dictionary:
    """One of a layout that records a name, of the sizes of all models here."""
    dictionary = models.dictionary("plt", llama(), dtype=torch.float32)
    return replace(dictionary, provenance={} if name is None else {"model_name": name})


# --- weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_recorded_weights_are_known_under_another_name_and_in_other_dtypes(
    dtype: torch.dtype, trained: Dictionary
) -> None:
    trained.check_fits(Subject(models.model("llama", torch.float32).to(dtype), models.tokenizer(), "renamed"))


def test_weights_recorded_in_bfloat16_are_known_in_float32_but_not_told_from_float16_by_hash() -> None:
    half = Subject(models.model("llama", torch.bfloat16), models.tokenizer(), "half")
    dictionary = models.dictionary("plt", half, dtype=torch.float32).of_model(half)
    dictionary.check_fits(llama())
    dictionary.check_fits(Subject(models.model("llama", torch.float16), models.tokenizer(), "other"))


@pytest.mark.parametrize("use", ["trace", "edit", "generate", "capture", "kit", "harvest"])
def test_every_use_with_other_weights_is_refused_and_both_models_are_named(
    use: str, trained: Dictionary, tmp_path: Path
) -> None:
    other = llama("yours", seed=1)
    uses = {
        "trace": lambda: clew.trace(other, trained, PROMPT),
        "edit": lambda: effects(other, trained, [PROMPT], [Edit.ablate("L0/1@2")]),
        "generate": lambda: list(generate(other, trained, PROMPT)),
        "capture": lambda: firing(other, trained, PROMPT),
        "kit": lambda: clew.Kit(other, trained),
        "harvest": lambda: list(harvest(other, trained, encode_documents(other, ["w1 w2 w3"]), tmp_path / "a")),
    }
    with pytest.raises(MismatchError, match=r"made for mine, and 'yours' is another model .*--other-model"):
        uses[use]()


def test_one_changed_weight_makes_another_model(trained: Dictionary) -> None:
    subject = llama("mine")
    trained.check_fits(subject)
    with torch.no_grad():
        subject.model.model.layers[2].mlp.up_proj.weight[3, 4] += 0.1
    with pytest.raises(MismatchError, match="its weights are others"):
        trained.check_fits(subject)


def test_a_fine_tuned_matrix_too_large_to_be_read_whole_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clew.subject.identity.WHOLE", 100)
    monkeypatch.setattr("clew.subject.identity.SAMPLE", 20)
    before, after = llama(), llama()
    with torch.no_grad():
        after.model.lm_head.weight.add_(torch.randn(1, models.WIDTH) * 0.05)
    assert before.rounded_hashes() == llama().rounded_hashes()
    assert before.rounded_hashes()["bfloat16"] != after.rounded_hashes()["bfloat16"]


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "subject"),
    [
        ("google/gemma-2-2b", "gemma-2-2b"),
        ("Google/Gemma-2-2B", "mirror/gemma-2-2b"),
        ("gemma-2-2b", "my folder"),
        ("tiny", "model"),
        (None, "anything"),
        ("runs/tiny", "tiny"),
    ],
)
def test_names_that_agree_or_cannot_be_compared_pass(recorded: str | None, subject: str) -> None:
    model = models.model("gemma2", torch.float32, num_hidden_layers=3)
    named(recorded).check_fits(Subject(model, models.tokenizer(), subject))


@pytest.mark.parametrize(
    ("recorded", "subject", "reason"),
    [
        ("google/gemma-2-2b", "model", "it is a LlamaForCausalLM"),
        ("gpt2-small", "model", "it is a LlamaForCausalLM"),
        ("EleutherAI/pythia-70m", "pythia-70m", "it is a LlamaForCausalLM"),
        ("meta-llama/Llama-3.2-1B", "unsloth/Llama-3.2-1B-Instruct", "its name is another"),
        ("org/model", "model-it", "its name is another"),
    ],
)
def test_names_of_other_models_are_refused(recorded: str, subject: str, reason: str) -> None:
    with pytest.raises(MismatchError, match=reason) as caught:
        named(recorded).check_fits(llama(subject))
    assert recorded in str(caught.value)


def test_a_model_in_memory_without_a_name_is_not_refused_for_it() -> None:
    subject = Subject.load(models.model("llama", torch.float32), models.tokenizer())
    named("meta-llama/Llama-3.2-1B").check_fits(subject)


def test_a_model_of_the_hubs_cache_goes_by_its_name_there(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--Some-Model" / "snapshots" / "0123abc"
    models.model("llama", torch.float32).save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    subject = Subject.load(folder)
    assert subject.name == "org/Some-Model"
    named("org/some-model").check_fits(subject)


# --- meant --------------------------------------------------------------------------------------------------------


def test_another_model_that_is_meant_is_written_into_what_is_made(trained: Dictionary, tmp_path: Path) -> None:
    other = llama("yours", seed=1)
    kit = clew.Kit(other, trained, other_model=True)
    expected = {"name": "yours", "made_for": "mine", "weights": other.rounded_hashes()}
    graph = kit.trace(PROMPT)
    graph.save(tmp_path / "x.graph")
    assert clew.Graph.load(tmp_path / "x.graph").provenance[OTHER] == expected
    assert kit.audit(graph, nodes=2).provenance[OTHER] == expected
    documents = encode_documents(other, ["w1 w2 w3 w4 w5"] * 3)
    list(harvest(other, kit.dictionary, documents, tmp_path / "a.sqlite"))
    with Atlas.load(tmp_path / "a.sqlite") as atlas:
        assert atlas.provenance[OTHER] == expected
    kit.dictionary.save(tmp_path / "d")
    assert Dictionary.load(tmp_path / "d").provenance[OTHER] == expected
    with pytest.raises(MismatchError):  # the override is for this model, not for any
        kit.dictionary.check_fits(llama("third", seed=2))
    assert kit.dictionary.fingerprint == trained.fingerprint


def test_what_needs_no_override_records_none(trained: Dictionary) -> None:
    kit = clew.Kit(llama("mine"), trained, other_model=True)
    assert kit.dictionary is trained
    assert OTHER not in kit.trace(PROMPT).provenance


def test_a_dictionary_of_other_sizes_is_refused_even_if_it_is_meant(trained: Dictionary) -> None:
    with pytest.raises(MismatchError, match="layers 3 against 4"):
        clew.Kit(llama(num_hidden_layers=4), trained, other_model=True)
    with pytest.raises(InputError, match="a kit has its own"):
        clew.load("minnow", other_model=True)


# --- kits and runs ------------------------------------------------------------------------------------------------


def test_a_kit_keeps_the_dictionary_of_its_renamed_model(tmp_path: Path) -> None:
    folder = tmp_path / "Llama-3.2-1B"
    models.model("llama", torch.float32).save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    published = models.dictionary("plt", llama(), dtype=torch.float32)
    save_circuit_tracer(published, tmp_path / "d", model_name="meta-llama/Llama-3.2-1B", scan="s")
    clew.kit.build(tmp_path / "kit", name="renamed", model=folder, dictionary=tmp_path / "d")
    kit = clew.load(tmp_path / "kit")
    assert (kit.name, kit.dictionary.other_model) == ("renamed", {})
    folder.rename(tmp_path / "other")
    with pytest.raises(MismatchError, match="meta-llama/Llama-3"):
        clew.kit.build(tmp_path / "kit2", name="k", model=tmp_path / "other", dictionary=tmp_path / "d")
    clew.kit.build(tmp_path / "kit2", name="k", model=tmp_path / "other", dictionary=tmp_path / "d", other_model=True)
    assert clew.load(tmp_path / "kit2").dictionary.other_model[OTHER]["made_for"] == "meta-llama/Llama-3.2-1B"
