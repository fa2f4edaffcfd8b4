"""The nulls: as dense as the dictionary, as good as chance allows; and `clew eval`, which shows them beside it."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from clew.dictionary import Dictionary
from clew.runs.evaluate import PROMPT_TOKENS, Material, assess, assess_nulls, default_prompts, within
from clew.runs.fidelity import measure_fidelity
from clew.runs.nulls import config_like, untrained, with_random_weights
from clew.subject.subject import Subject
from clew.training import DictionaryConfig, train_dictionary
from clew.training.activations import collect
from clew.training.corpus import Documents, encode_documents
from tests import toy
from tests.models import BOS, dictionary, subject, tokenizer


def text(made: Subject, n: int = 150) -> Documents:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 97, (n, 12), generator=generator)
    return encode_documents(made, list(torch.cat([torch.full((n, 1), BOS), ids], 1)))


@pytest.mark.parametrize("kind", ["clt", "skip-plt"])
def test_an_untrained_dictionary_is_as_dense_and_explains_nothing_more_than_the_mean(kind: str) -> None:
    made = subject("gpt2", torch.float32)
    documents, own = text(made), dictionary(kind, made, dtype=torch.float32)
    found = measure_fidelity(made, own, documents)
    l0 = dict(zip(found.layers, found.l0, strict=True))
    null = untrained(made, own, documents, l0)
    assert null.writes == own.writes
    assert [null.d_features(i) for i in null.layers] == [own.d_features(i) for i in own.layers]
    measured = measure_fidelity(made, null, documents)
    assert measured.l0 == pytest.approx(found.l0, rel=0.01)
    assert min(measured.nmse) > 0.3
    assert max(measured.nmse) <= 1.0 + 1e-6  # scaled by least squares: never worse than the mean
    batch = collect(made, documents, torch.arange(len(documents)), own.read_site, own.write_site)
    inputs = dict(enumerate(batch.inputs))
    active = {i: null.encode(i, x) for i, x in inputs.items()}
    for i, whole in null.reconstruct(active, inputs, batch.inputs.shape[1]).items():
        torch.testing.assert_close(whole.mean(0), batch.outputs[i].mean(0), rtol=1e-3, atol=1e-4)
    other = untrained(made, own, documents, l0, seed=1)
    assert other.fingerprint != null.fingerprint
    assert untrained(made, own, documents, l0).fingerprint == null.fingerprint


def test_a_dictionary_with_a_silent_layer_has_a_null_with_a_silent_layer() -> None:
    made = subject("gpt2", torch.float32)
    documents, own = text(made), dictionary("plt", made, dtype=torch.float32)
    null = untrained(made, own, documents, {0: 0.0, 1: 3.0, 2: 40.0})
    l0 = measure_fidelity(made, null, documents).l0
    assert l0[0] == 0
    assert l0[1] == pytest.approx(3, rel=0.01)
    assert 15 < l0[2] <= 40  # a feature needs a positive pre-activation


def test_random_weights_are_the_same_numbers_in_another_order() -> None:
    made = subject("llama", torch.float32)
    random = with_random_weights(made)
    moved = 0
    for (name, before), after in zip(made.model.named_parameters(), random.model.parameters(), strict=True):
        assert before.data_ptr() != after.data_ptr(), name
        assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
        moved += not torch.equal(before, after)
    assert moved == len(list(made.model.parameters()))
    ids = torch.tensor([[BOS, 4, 7, 9]])
    assert float((made.logits(ids) - random.logits(ids)).abs().max()) > 0.1


def test_the_second_null_is_trained_as_the_dictionary_was() -> None:
    made = subject("gpt2", torch.float32)
    own = dictionary("skip-plt", made, dtype=torch.float32)
    assert config_like(own, 6.4, steps=9) == DictionaryConfig(kind="plt", features=40, k=6, skip=True, steps=9)
    config = DictionaryConfig(features=40, k=3, nonlinearity="jumprelu", steps=700)
    trained = replace(own, provenance={"training": asdict(config)})
    assert config_like(trained, 6.4, steps=9) == replace(config, steps=9)
    assert config_like(trained, 6.4, steps=900) == config


def trained_llama() -> Subject:
    """A Llama with grouped queries that has learned some of the toy text."""
    sizes = {"hidden_size": toy.D, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ids = {"vocab_size": toy.VOCAB, "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    model, generator = LlamaForCausalLM(LlamaConfig(**sizes, **heads, **ids)), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        batch = toy.sentences(32, generator)
        logits = model(batch).logits[:, :-1]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
    return Subject(model.requires_grad_(False), toy.Marks(), "llama")  # type: ignore[arg-type]


def test_a_clt_of_a_llama_with_grouped_queries_is_better_than_both_nulls_on_held_out_text(tmp_path: Path) -> None:
    made = trained_llama()
    seen, held_out = toy.documents_of(made).slice(0, 150), toy.documents_of(made).slice(150, 200)

    def trained(subject: Subject, folder: Path) -> Dictionary:
        list(train_dictionary(subject, seen, replace(toy.SMALL, steps=150), folder, buffer=toy.BUFFER))
        return Dictionary.load(folder / "dictionary")

    own = trained(made, tmp_path / "own")
    found = measure_fidelity(made, own, held_out)
    first = measure_fidelity(
        made, untrained(made, own, held_out, dict(zip(found.layers, found.l0, strict=True))), held_out
    )
    random = with_random_weights(made)
    second = measure_fidelity(random, trained(random, tmp_path / "random"), held_out)
    assert max(found.nmse) < 0.1 * min(first.nmse)  # the loss that was trained
    assert found.kl < min(first.kl, second.kl)
    # Not beside the random model: without its MLPs it predicts as badly as with them, and a ratio of losses is noise.
    assert 1 - found.replaced.loss_recovered < 0.5 * (1 - first.replaced.loss_recovered)


def test_an_assessment_holds_means_with_intervals_and_plain_values() -> None:
    made = subject("gpt2", torch.float32)
    documents, own = text(made, 400), dictionary("clt", made, dtype=torch.float32)
    given = {1: (0.2, 0.9), 2: (0.4, 0.8), 3: (0.9, 0.7)}
    score = lambda subject, dictionary, prompt: given[prompt[1]]  # noqa: E731
    prompts = [[BOS, i] for i in given]
    found = assess(made, own, Material(documents=documents, prompts=prompts, score=score))
    assert found.scores is not None
    assert found.scores.replacement.value == pytest.approx(0.5)
    assert found.scores.completeness.value == pytest.approx(0.8)
    deviation = math.sqrt((0.3**2 + 0.1**2 + 0.4**2) / 2)
    assert within(found.scores.replacement) == pytest.approx(1.96 * deviation / math.sqrt(3), rel=1e-4)
    quick = Material(documents=documents, prompts=prompts, score=score, by_layer=False)
    nulls = list(assess_nulls(made, own, quick, found.evaluation, documents, steps=4, buffer=2048))
    assert [null.name for null in nulls] == ["untrained clt", "clt of GPT2LMHeadModel with random weights"]
    plain = json.loads(json.dumps([x.to_json() for x in (found, *nulls)], allow_nan=False))
    assert len(plain[0]["evaluation"]["by_layer"]) == 3
    assert plain[1]["evaluation"]["by_layer"] == []
    assert plain[0]["scores"]["replacement_within"] == within(found.scores.replacement)
    none = replace(quick, prompts=[])
    assert len(list(assess_nulls(made, own, none, found.evaluation, documents, steps=0, buffer=2048))) == 1


def test_eval_shows_the_kits_dictionary_beside_its_null(run, tmp_path):
    small = ("--held-out", "400", "--buffer", "2048", "--count", "2")
    code, out, err = run("eval", "--no-nulls", "--json", "--figure", "d.png", *small)
    assert code == 0, err
    own, null = json.loads(out)
    assert own["evaluation"]["replaced"]["kl"] < 0.05
    assert null["evaluation"]["replaced"]["kl"] > 1
    assert null["evaluation"]["l0"] == pytest.approx(own["evaluation"]["l0"], rel=0.05, abs=0.05)
    assert own["scores"]["prompts"] == 2
    assert own["scores"]["replacement"] > null["scores"]["replacement"]
    assert own["scores"]["completeness"] > null["scores"]["completeness"]
    assert (tmp_path / "d.png").read_bytes()[:4] == b"\x89PNG"
    assert own["hop_skipping"]["prompts"] == 2
    code, out, err = run("eval", "--no-nulls", "--no-by-layer", *small)
    assert code == 0, err
    shown = " ".join(out.split())
    half = [(high - low) / 2 for _, low, high in (own["hop_skipping"]["share"], null["hop_skipping"]["share"])]
    shares = [each["hop_skipping"]["share"][0] for each in (own, null)]
    cells = " ".join(f"{share:.4f} ± {width:.4f}" for share, width in zip(shares, half, strict=True))
    assert f"hops skipped, 2 prompts {cells} by chance" in shown
    code, out, err = run("eval", "--no-nulls", "--no-by-layer", "--count", "0", *small[:4])
    assert code == 0, err
    assert "hops skipped" not in out
    assert "untrained" in out
    assert "--nulls" in out
    code, out, err = run("eval", "missing", *small)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_held_out_rows_serve_as_prompts_where_there_is_no_list(run, tmp_path):
    made = Subject.load(subject("gpt2", torch.float32).model, tokenizer())
    rows = encode_documents(made, [[BOS, *[5] * 40], [BOS, 7]])
    assert default_prompts("a.txt", rows, 5) == [[BOS, *[5] * (PROMPT_TOKENS - 1)], [BOS, 7]]
    assert default_prompts("a.txt", rows, 1) == [[BOS, *[5] * (PROMPT_TOKENS - 1)]]
    assert len(set(default_prompts("world", rows, 100))) == 100
    (tmp_path / "p.txt").write_text("\n")
    code, _, err = run("eval", "--prompts", "p.txt")
    assert code == 2
    assert "holds no text" in err
