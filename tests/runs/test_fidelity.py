"""Fidelity against plain references: dense errors, one hook a layer, the model's own loss."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from clew.dictionary import Dictionary
from clew.progress import Progress
from clew.runs.fidelity import DENSITY_EDGES, Fidelity, histogram, measure_fidelity, replaced_logits
from clew.subject.subject import Subject
from clew.training.activations import collect
from clew.training.corpus import Documents, encode_documents
from tests.models import BOS, dictionary, subject


def text(made: Subject, n: int = 12) -> Documents:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 14, (n,), generator=generator).tolist()
    rows = [torch.randint(1, 97, (length,), generator=generator) for length in lengths]
    begun = [torch.cat([torch.tensor([BOS]), row]) if i % 3 else row for i, row in enumerate(rows)]
    return encode_documents(made, begun)


def rows_of(documents: Documents) -> list[Tensor]:
    bounds = documents.starts.tolist()
    return [documents.tokens[a:b].long()[None] for a, b in pairwise(bounds)]


def capped(made: Subject, logits: Tensor) -> Tensor:
    cap = getattr(made.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def reference(made: Subject, documents: Documents, new: list[Tensor]) -> dict[str, float]:
    """Divergence, agreement and loss row by row, from whole log-probabilities, in the model's own units."""
    kl, same, sure, loss = [], [], [], []
    for row, first, other in zip(rows_of(documents), documents.first.tolist(), new, strict=True):
        real, other = made.logits(row)[0].log_softmax(-1), other[0].log_softmax(-1)
        kl += (real.exp() * (real - other)).sum(-1)[first:].tolist()
        same += (real.argmax(-1) == other.argmax(-1))[first:].tolist()
        sure += (real.exp().amax(-1) >= 0.5)[first:].tolist()
        loss += cross_entropy(other[first:-1], row[0, first + 1 :], reduction="none").tolist()
    agreeing = [a for a, b in zip(same, sure, strict=True) if b]
    return {
        "kl": sum(kl) / len(kl),
        "agreement": sum(same) / len(same),
        "agreement_sure": sum(agreeing) / len(agreeing) if agreeing else math.nan,
        "loss": sum(loss) / len(loss),
    }


@pytest.mark.parametrize(
    ("architecture", "kind"), [("gpt2", "clt"), ("llama", "skip-plt"), ("gemma2", "clt"), ("neox", "skip-clt")]
)
def test_the_replaced_model_is_compared_with_the_real_one_at_every_position(architecture: str, kind: str) -> None:
    made = subject(architecture)
    documents, own = text(made), dictionary(kind, made)
    found = measure_fidelity(made, own, documents)
    new = [
        capped(made, replaced_logits(made, own, row, documents.left_out(torch.tensor([i]))))
        for i, row in enumerate(rows_of(documents))
    ]
    wanted = reference(made, documents, new)
    rounding = 1e-7 if architecture == "gemma2" else 1e-9  # Gemma's softmax rounds to float32
    assert found.kl == pytest.approx(wanted["kl"], rel=rounding)
    assert found.kl > 1e-3
    assert found.agreement == pytest.approx(wanted["agreement"])
    assert found.agreement_sure == pytest.approx(wanted["agreement_sure"], nan_ok=True)
    assert found.replaced.loss == pytest.approx(wanted["loss"])
    real = reference(made, documents, [made.logits(row) for row in rows_of(documents)])
    assert found.loss == pytest.approx(real["loss"])
    assert real["kl"] == 0


def test_markers_inside_rows_stay_real_and_are_neither_compared_nor_predicted() -> None:
    """Packed rows: each position beside the real model's, with the MLPs of positions that are text replaced by hand."""
    made = subject("gpt2")
    generator = torch.Generator().manual_seed(0)
    rows = [[BOS, *torch.randint(1, 97, (7,), generator=generator).tolist()] * 2 for _ in range(4)]
    own = dictionary("plt", made)
    fidelity = measure_fidelity(made, own, encode_documents(made, rows))
    kl, loss, active = [], [], []
    for row in torch.tensor(rows):
        is_text = row != BOS

        def stand_in(layer: int, read: Tensor, real: Tensor, is_text: Tensor = is_text) -> Tensor:
            new = own.reconstruct({layer: own.encode(layer, read[0])}, {layer: read[0]}, len(read[0]))[layer]
            return torch.where(is_text[None, :, None], new, real)

        real = made.logits(row[None])[0].log_softmax(-1)
        new = made.replaced_logits(row[None], stand_in, read_site="mlp_in", write_site="mlp_out")[0].log_softmax(-1)
        kl += (real.exp() * (real - new)).sum(-1)[is_text].tolist()
        both = is_text[:-1] & is_text[1:]
        loss += cross_entropy(real[:-1][both], row[1:][both], reduction="none").tolist()
        inputs = made.capture(row[None], ["mlp_in"])
        active.append([len(own.encode(i, inputs["mlp_in", i][0][is_text]).index) for i in range(made.n_layers)])
    assert (fidelity.positions, len(loss)) == (4 * 14, 4 * 12)
    assert fidelity.kl == pytest.approx(sum(kl) / len(kl), rel=1e-9)
    assert fidelity.loss == pytest.approx(sum(loss) / len(loss), rel=1e-9)
    assert fidelity.l0 == pytest.approx([sum(column) / 56 for column in zip(*active, strict=True)])


@pytest.mark.parametrize("kind", ["clt", "skip-plt", "sae"])
def test_one_layer_at_a_time_is_a_hook_on_that_layer(kind: str) -> None:
    made = subject("gpt2")
    documents = text(made)
    own = sae(made) if kind == "sae" else dictionary(kind, made)
    found = measure_fidelity(made, own, documents, by_layer=True)
    assert len(found.by_layer) == len(own.layers)
    everything = torch.arange(len(documents))
    held = collect(made, documents, everything, own.read_site, own.write_site)
    for at, layer in enumerate(sorted(own.layers)):
        module = made.model.transformer.h[layer] if kind == "sae" else made.model.transformer.h[layer].mlp
        new, mean = [], []
        for row, first in zip(rows_of(documents), documents.first.tolist(), strict=True):
            inputs = {i: made.capture(row, [own.read_site])[own.read_site, i][0] for i in own.layers}  # type: ignore[list-item,index]
            active = {i: own.encode(i, x) for i, x in inputs.items()}
            whole = own.reconstruct(active, inputs, row.shape[1])[layer]
            new.append(hooked(made, module, row, first, whole))
            mean.append(hooked(made, module, row, first, held.outputs[layer].double().mean(0).expand_as(whole)))
        wanted, lost = reference(made, documents, new), reference(made, documents, mean)
        one = found.by_layer[at]
        assert one.kl == pytest.approx(wanted["kl"], rel=1e-6)
        assert one.agreement == pytest.approx(wanted["agreement"])
        assert one.loss == pytest.approx(wanted["loss"])
        assert one.loss_recovered == pytest.approx(
            (lost["loss"] - wanted["loss"]) / (lost["loss"] - found.loss), rel=1e-3
        )


def hooked(made: Subject, module: torch.nn.Module, row: Tensor, first: int, output: Tensor) -> Tensor:
    """Logits with a module's output replaced from position `first` on."""

    def put(module: torch.nn.Module, args: object, real: Tensor) -> Tensor:
        return torch.cat([real[:, :first], output[None, first:].to(real.dtype)], 1)

    handle = module.register_forward_hook(put)
    try:
        return made.model(row).logits.detach()
    finally:
        handle.remove()


def sae(made: Subject) -> Dictionary:
    own = dictionary("plt", made)
    return replace(own, kind="sae", read_site="resid_post", write_site="resid_post")


def test_the_neurons_recover_all_of_the_loss_and_the_mean_outputs_nothing() -> None:
    made = subject("gpt2")
    documents, neurons = text(made), Dictionary.from_neurons(subject("gpt2"))
    exact = measure_fidelity(made, neurons, documents, by_layer=True)
    held = collect(made, documents, torch.arange(len(documents)), "mlp_in", "mlp_raw_out")
    silent = {
        i: replace(layer, decoder=layer.decoder * 0, decoder_bias=held.outputs[i].double().mean(0))
        for i, layer in neurons.layers.items()
    }
    none = measure_fidelity(made, replace(neurons, layers=silent), documents, by_layer=True)
    for one, other in zip((exact.replaced, *exact.by_layer), (none.replaced, *none.by_layer), strict=True):
        assert one.loss_recovered == pytest.approx(1, abs=1e-6)
        assert one.agreement == 1
        assert other.loss_recovered == pytest.approx(0, abs=1e-4)
        assert other.kl > 1e-4
    assert none.nmse == pytest.approx([1.0] * 3)
    assert max(exact.nmse) < 1e-12


def test_errors_counts_and_densities_are_those_of_a_dense_computation() -> None:
    made = subject("gpt2")
    documents, own = text(made, 40), dictionary("clt", made, threshold=1.5)
    found = measure_fidelity(made, own, documents)
    held = collect(made, documents, torch.arange(len(documents)), "mlp_in", "mlp_out")
    rebuilt = [layer.decoder_bias.expand_as(held.outputs[i]).clone() for i, layer in own.layers.items()]
    for i, layer in own.layers.items():
        pre = held.inputs[i].double() @ layer.encoder.T + layer.bias
        dense = pre * (pre > 1.5)
        share = (dense > 0).double().mean(0)
        assert found.l0[i] == pytest.approx(float(share.sum()))
        assert found.dead[i] == pytest.approx(float((share == 0).double().mean()))
        alive = share[share > 0].log10()
        bins = [int(((alive >= a) & (alive < b)).sum()) for a, b in pairwise(DENSITY_EDGES)]
        bins[-1] += int((alive == 0).sum())
        assert found.density[i] == (int((share == 0).sum()), *bins)
        for slot, out in enumerate(own.writes[i]):
            rebuilt[out] = rebuilt[out] + dense @ layer.decoder[:, slot]
    for i, whole in enumerate(rebuilt):
        real = held.outputs[i].double()
        error = (real - whole).square().sum() / (real - real.mean(0)).square().sum()
        assert found.nmse[i] == pytest.approx(float(error), rel=1e-5)
    assert found.positions == int(documents.counts.sum())


def test_a_density_histogram_counts_every_feature_once() -> None:
    fired = torch.tensor([0, 0, 1, 10, 999, 1000, 1_000_000, 10_000_000])
    assert histogram(fired, 10_000_000) == (2, 2, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1)
    assert sum(histogram(fired, 10_000_000)) == len(fired)


def test_progress_counts_rows() -> None:
    made = subject("gpt2", torch.float32)
    seen: list[Progress] = []
    found = measure_fidelity(made, dictionary("plt", made, dtype=torch.float32), text(made), report=seen.append)
    assert (seen[-1].done, seen[-1].of, seen[-1].unit) == (12, 12, "rows")
    assert isinstance(found, Fidelity)
    assert found.by_layer == ()
