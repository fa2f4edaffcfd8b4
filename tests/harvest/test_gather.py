"""What a harvest finds: planted features exactly, brute force to the last token, the same whatever the order."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import clew
from clew import files
from clew.dictionary import Dictionary, JumpReLU, Layer
from clew.errors import FileError, InputError, MismatchError
from clew.features.atlas import Atlas
from clew.features.config import HarvestConfig
from clew.harvest import gather as reading
from clew.harvest.feature_tables import FeatureTables, merged
from clew.harvest.gather import gather
from clew.harvest.write_atlas import finish, harvest
from clew.runs.sources import small_world
from clew.subject.subject import Subject
from clew.training.corpus import encode_documents
from tests import models, plain_atlas

SMALL = HarvestConfig(contexts=4, a_band=2, silent=3, before=3, after=2, promoted=4, related=3, pool=60, pairs=500)


def rows_of_words(n, *, seed=0, longest=20):
    """Documents after a BOS, some of them alike, so that windows come again."""
    rng = np.random.default_rng(seed)
    stock = [[models.BOS, *rng.integers(1, models.VOCAB, rng.integers(1, longest)).tolist()] for _ in range(n // 3)]
    return [stock[i] for i in rng.integers(0, len(stock), n)]


def made(subject, dictionary, documents, path, config=SMALL, **options):
    for _ in harvest(subject, dictionary, documents, path, config=config, **options):
        pass
    return Atlas.load(path)


# Truth


def planted(share=1):
    """A model whose stream is the token and, in its last direction, a share of the position; features by token.

    Feature t of layer 0 fires at token t with 1 + share * position / 64 and promotes token t + 1.
    """
    model = models.model("gpt2", torch.float32, n_embd=128, n_head=4)
    with torch.no_grad():
        model.transformer.wte.weight.copy_(torch.eye(models.VOCAB, 128))
        model.transformer.wpe.weight.zero_()
        model.transformer.wpe.weight[:, 127] = torch.arange(models.CONTEXT) / 64
        model.transformer.ln_f.weight.fill_(1)
    encoder, decoder = torch.eye(models.VOCAB, 128), torch.zeros(models.VOCAB, 1, 128)
    encoder[:, 127] = share
    decoder[:, 0, : models.VOCAB] = torch.eye(models.VOCAB).roll(1, 1)
    layer = Layer(
        encoder=encoder,
        bias=torch.zeros(models.VOCAB),
        nonlinearity=JumpReLU(threshold=torch.full((models.VOCAB,), 0.999)),
        decoder=decoder,
        decoder_bias=torch.zeros(128),
    )
    dictionary = Dictionary(
        kind="plt", layers={0: layer}, writes={0: (0,)}, read_site="resid_pre", write_site="mlp_out",
        n_layers=3, d_model=128, name="planted",
    )  # fmt: skip
    return Subject.load(model, models.tokenizer()), dictionary


def test_planted_features_are_found_with_their_density_their_contexts_and_the_token_they_promote(tmp_path):
    subject, dictionary = planted()
    rows = [[models.BOS, 5, 6, 7], [models.BOS, 8, 5], [models.BOS, 9, 9, 9, 5], [models.BOS, 8, 5]]
    documents = encode_documents(subject, rows)
    config = HarvestConfig(contexts=2, before=1, after=1, promoted=1, pool=1000)
    atlas = made(subject, dictionary, documents, tmp_path / "atlas.sqlite", config)
    card = atlas["L0/5"]
    assert (card.positions, card.documents) == (11, 4)
    assert (card.fired, card.fired_documents) == (4, 4)
    assert card.max_activation == 1 + 4 / 64
    assert card.mean_activation == 1 + (1 + 2 + 4 + 2) / 4 / 64
    assert [(c.document, c.position) for c in card.top] == [(2, 4), (1, 2)]  # document 3 is document 1 again
    assert card.top[0].tokens == ("w9", "w5")
    assert card.top[0].activations == (0, 1 + 4 / 64)
    assert [(t.token, t.weight > 0) for t in card.promoted] == [("w6", True)]
    assert (card.places.at_last, card.places.everything_at_last) == (3 / 4, 4 / 11)
    assert card.top == atlas["L0/5"].top
    assert [c.token_ids for c in card.bands[0].contexts] in ([(9, 5), (8, 5)], [(8, 5), (9, 5)], [(0, 5, 6), (9, 5)],
        [(9, 5), (0, 5, 6)], [(0, 5, 6), (8, 5)], [(8, 5), (0, 5, 6)])  # fmt: skip
    assert card.silent
    assert all(5 not in context.token_ids for context in card.silent)
    assert atlas["L0/9"].fired == 3
    assert atlas["L0/9"].fired_documents == 1
    unseen = atlas["L0/40"]
    assert unseen.dead
    assert (unseen.density, unseen.top, unseen.bands, unseen.log_histogram.counts) == (0, (), (), ())
    assert unseen.promoted[0].token == "w41"
    assert len(unseen.silent) == 9  # all contexts that differ


def test_equal_activations_go_by_document_then_position_whatever_was_read_first(tmp_path):
    subject, dictionary = planted(share=0)
    rows = [
        [models.BOS, 9, 8, 7, 5, 6, 5, 4, 5, 3],
        [models.BOS, 5, 6],
        [models.BOS, 5, 9, 9],
    ]  # short ones are read first
    config = HarvestConfig(contexts=4, before=1, after=1, promoted=1)
    atlas = made(subject, dictionary, encode_documents(subject, rows), tmp_path / "a.sqlite", config)
    places = [(c.document, c.position, c.activation) for c in atlas["L0/5"].top]
    assert places == [(0, 4, 1), (0, 6, 1), (0, 8, 1), (1, 1, 1)]


# Reference


@pytest.fixture(scope="module")
def minnow(tmp_path_factory, small_kit):
    kit = clew.load(small_kit)
    config = HarvestConfig(pool=100, pairs=3000, rules=False)
    documents = encode_documents(kit.subject, small_world(12000), positions=12000)
    atlas = made(kit.subject, kit.dictionary, documents, tmp_path_factory.mktemp("atlas") / "a.sqlite", config)
    plain = plain_atlas.activations(kit.subject, kit.dictionary, documents, config, reading.CHUNK)
    return kit, documents, atlas, plain


def test_cards_are_what_brute_force_finds_to_the_last_token(minnow):
    kit, _, atlas, plain = minnow
    drawn, pool = plain.below(plain.config.pairs), plain.distinct(plain.below(plain.config.pool))
    chosen = random.Random(0).sample(range(len(atlas)), 60)
    fired = 0
    for number in chosen:
        card = atlas[atlas.feature(number)]
        fired += not card.dead
        plain_atlas.check_card(card, plain, kit.subject, number, drawn, pool)
        plain_atlas.check_together(card, atlas, plain, number, drawn)
    assert fired > 30


def test_relations_by_weights_are_those_of_whole_matrices(minnow):
    kit, _, atlas, plain = minnow
    weights = plain_atlas.Weights(kit.subject, kit.dictionary)
    for number in random.Random(1).sample(range(len(atlas)), 40):
        weights.check(atlas[atlas.feature(number)], atlas, number, plain.config.related)


def test_activations_on_a_card_are_those_of_the_document_alone(minnow):
    kit, documents, atlas, _ = minnow
    for number in random.Random(2).sample(range(len(atlas)), 20):
        feature = atlas.feature(number)
        for context in atlas[feature].top[:2]:
            ids = documents.padded(torch.tensor([context.document]))[0]
            x = kit.subject.capture(ids, ["mlp_in"])["mlp_in", feature.layer]
            alone = kit.dictionary.activations_of(feature.layer, x, torch.tensor([feature.index]))[0]
            low = context.position - context.at
            shown = alone[low : low + len(context.tokens)].clone()
            shown[: max(0, int(documents.first[context.document]) - low)] = 0
            np.testing.assert_allclose(context.activations, shown, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", ["plt", "clt", "skip-clt"])
@pytest.mark.parametrize(
    ("architecture", "write"),
    [("gpt2", "mlp_out"), ("llama", "mlp_out"), ("gemma2", "mlp_out"), ("gemma2", "mlp_raw_out")],
)
def test_tiny_models_of_other_kinds_agree_with_brute_force(architecture, kind, write, tmp_path):
    subject = models.subject(architecture, torch.float32)
    dictionary = models.dictionary(kind, subject, write=write, dtype=torch.float32)
    documents = encode_documents(subject, rows_of_words(60))
    atlas = made(subject, dictionary, documents, tmp_path / "a.sqlite")
    plain = plain_atlas.activations(subject, dictionary, documents, SMALL, reading.CHUNK)
    drawn, pool = plain.below(SMALL.pairs), plain.distinct(plain.below(SMALL.pool))
    weights = plain_atlas.Weights(subject, dictionary)
    for number in range(0, len(atlas), 7):
        card = atlas[atlas.feature(number)]
        plain_atlas.check_card(card, plain, subject, number, drawn, pool)
        plain_atlas.check_together(card, atlas, plain, number, drawn)
        weights.check(card, atlas, number, SMALL.related)


def test_cards_of_packed_rows_are_what_brute_force_finds_at_positions_that_are_text(tmp_path):
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("plt", subject, dtype=torch.float32)
    rows = rows_of_words(60, longest=12)
    documents = encode_documents(subject, [[*a, *b, models.BOS] for a, b in zip(rows[::2], rows[1::2], strict=True)])
    atlas = made(subject, dictionary, documents, tmp_path / "a.sqlite")
    plain = plain_atlas.activations(subject, dictionary, documents, SMALL, reading.CHUNK)
    assert atlas.positions == sum(map(len, rows)) - 60
    drawn, pool = plain.below(SMALL.pairs), plain.distinct(plain.below(SMALL.pool))
    at_bos = 0
    for number in range(0, len(atlas), 7):
        card = atlas[atlas.feature(number)]
        plain_atlas.check_card(card, plain, subject, number, drawn, pool)
        plain_atlas.check_together(card, atlas, plain, number, drawn)
        for context in card.top:
            assert plain.tokens(context.document)[context.position] != models.BOS
            at_bos += (
                models.BOS in plain.tokens(context.document)[context.position - context.at :][: len(context.tokens)]
            )
    assert at_bos > 10  # contexts show the markers between which a feature fires


def test_bands_lie_within_eight_octaves_of_the_largest_activation(tmp_path):
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("plt", subject, dtype=torch.float32, threshold=None)
    documents = encode_documents(subject, rows_of_words(200))
    atlas = made(subject, dictionary, documents, tmp_path / "a.sqlite")
    plain = plain_atlas.activations(subject, dictionary, documents, SMALL, reading.CHUNK)
    drawn, pool = plain.below(SMALL.pairs), plain.distinct(plain.below(SMALL.pool))
    wide = 0
    for number in range(0, len(atlas), 10):
        card = atlas[atlas.feature(number)]
        values = [v for v, _, _ in plain.firings(number)]
        wide += min(values, default=0) * 2**8 < max(values, default=0)
        plain_atlas.check_card(card, plain, subject, number, drawn, pool)
    assert wide > 3


def test_an_sae_of_one_layer_has_cards_and_no_virtual_weights(tmp_path):
    subject = models.subject("gpt2", torch.float32)
    clt = models.dictionary("plt", subject, read="resid_mid", dtype=torch.float32)
    sae = Dictionary(
        kind="sae", layers={1: clt.layers[1]}, writes={1: (1,)}, read_site="resid_mid", write_site="resid_mid",
        n_layers=3, d_model=models.WIDTH, name="sae",
    )  # fmt: skip
    documents = encode_documents(subject, rows_of_words(60))
    atlas = made(subject, sae, documents, tmp_path / "a.sqlite")
    plain = plain_atlas.activations(subject, sae, documents, SMALL, reading.CHUNK)
    drawn, pool = plain.below(SMALL.pairs), plain.distinct(plain.below(SMALL.pool))
    for number, feature in enumerate(atlas):
        card = atlas[feature]
        plain_atlas.check_card(card, plain, subject, number, drawn, pool)
        assert card.inputs == card.outputs == ()
    assert str(next(iter(atlas))) == "L1/0"


# The same in any order


@pytest.fixture(scope="module")
def tiny():
    subject = models.subject("gpt2", torch.float32)
    dictionary = models.dictionary("clt", subject, dtype=torch.float32, threshold=None)
    return subject, dictionary, encode_documents(subject, rows_of_words(3 * reading.CHUNK - 50))


def test_parts_added_up_in_any_order_give_the_content_of_one_run(tiny, tmp_path):
    whole = made(*tiny, tmp_path / "whole.sqlite")
    cuts = [0, reading.CHUNK, 2 * reading.CHUNK, len(tiny[2])]
    parts = []
    for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
        parts.append(tmp_path / f"{i}.part")
        list(gather(*tiny, parts[-1], config=SMALL, start=start, stop=stop))
    for order in itertools.permutations(parts):
        list(finish(*tiny, list(order), tmp_path / "merged.sqlite"))
        with Atlas.load(tmp_path / "merged.sqlite") as merged_atlas:
            assert merged_atlas.content == whole.content
            merged_atlas.check_whole()
    for number in (0, 50, len(whole) - 1):
        feature = whole.feature(number)
        with Atlas.load(tmp_path / "merged.sqlite") as merged_atlas:
            assert merged_atlas[feature] == whole[feature]


def test_a_harvest_that_was_stopped_goes_on_to_the_same_content(tiny, tmp_path):
    whole = made(*tiny, tmp_path / "whole.sqlite")
    stopped = harvest(*tiny, tmp_path / "a.sqlite", config=SMALL, every=1)
    next(stopped)
    next(stopped)
    stopped.close()
    part = FeatureTables.load(tmp_path / "a.sqlite.part")
    assert part.ranges == [(0, 2 * reading.CHUNK)]
    reports = list(harvest(*tiny, tmp_path / "a.sqlite", config=SMALL, resume=True))
    assert sum(report.what == "reading" for report in reports) == 1
    assert Atlas.load(tmp_path / "a.sqlite").content == whole.content
    assert not (tmp_path / "a.sqlite.part").exists()


def test_content_changes_with_one_token_of_the_corpus(tiny, tmp_path):
    subject, dictionary, documents = tiny
    other = rows_of_words(3 * reading.CHUNK - 50)
    other[100] = [*other[100][:-1], 96 if other[100][-1] != 96 else 95]
    one, two = (tmp_path / f"{i}.sqlite" for i in range(2))
    assert (
        made(subject, dictionary, documents, one).content
        != made(subject, dictionary, encode_documents(subject, other), two).content
    )


WORKER = """
import sys, torch
torch.set_num_threads(1)
from clew.harvest.write_atlas import harvest
from clew.harvest import gather as reading
from tests.harvest.test_gather import SMALL, rows_of_words
from tests import models
from clew.training.corpus import encode_documents
subject = models.subject("gpt2", torch.float32)
dictionary = models.dictionary("clt", subject, dtype=torch.float32, threshold=None)
documents = encode_documents(subject, rows_of_words(3 * reading.CHUNK - 50))
print("ready", flush=True)
for report in harvest(subject, dictionary, documents, sys.argv[1], config=SMALL, resume=True, every=1):
    print(report.what, flush=True)
print("done", flush=True)
"""


def kill_and_resume(tiny, folder, kills, seed):
    """Killed at random points again and again, the harvest ends with the content of one run; the old atlas stays."""
    rng, path = random.Random(seed), folder / "a.sqlite"
    content = made(*tiny, folder / "whole.sqlite").content
    old = made(*tiny, path, HarvestConfig(contexts=1)).content
    part, kept, survived = folder / "a.sqlite.part", 0, 0
    for _ in range(kills):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, path], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(rng.randrange(1, 6))]  # ready, each chunk, each stage
        time.sleep(0.03 * rng.random())
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        said += worker.stdout.readlines()
        worker.stdout.close()
        with Atlas.load(path) as atlas:
            atlas.check_whole()
            assert atlas.content in (old, content)
            finished = atlas.content == content
        # what was said to be read is kept, but for the last chunk, which is written with the end
        wanted = min(kept + reading.CHUNK * said.count("reading\n"), 2 * reading.CHUNK)
        if part.exists():
            ((begin, kept),) = FeatureTables.load(part).ranges or [(0, 0)]
            assert begin == 0
            assert kept >= wanted
            survived += kept > 0
        else:
            assert finished or wanted == 0
            kept = 0
    assert survived
    list(harvest(*tiny, path, config=SMALL, resume=True))
    assert Atlas.load(path).content == content
    assert [p.name for p in folder.iterdir() if p.name.startswith(".a.sqlite")] == []


@pytest.mark.stress
def test_kill_9_loses_no_atlas_and_the_harvest_goes_on(tiny, tmp_path):
    kill_and_resume(tiny, tmp_path, 2, 3)


@pytest.mark.stress
def test_kill_9_at_ten_points(tiny, tmp_path):
    kill_and_resume(tiny, tmp_path, 10, 1)


# Bad input


def test_a_part_of_something_else_is_refused_by_name(tiny, tmp_path):
    subject, dictionary, documents = tiny
    part = tmp_path / "a.part"
    list(gather(*tiny, part, config=SMALL))
    other = models.dictionary("clt", subject, dtype=torch.float32, seed=9)
    with pytest.raises(MismatchError, match=f"{dictionary.fingerprint[:12]}.*{other.fingerprint[:12]}"):
        list(gather(subject, other, documents, part, config=SMALL, resume=True))
    with pytest.raises(MismatchError, match="another corpus"):
        list(gather(subject, dictionary, documents.slice(0, 300), part, config=SMALL, resume=True))
    with pytest.raises(MismatchError, match="other settings"):
        list(gather(*tiny, part, config=HarvestConfig(), resume=True))


def test_parts_that_overlap_or_leave_a_gap_are_refused(tiny, tmp_path):
    one, two = tmp_path / "1.part", tmp_path / "2.part"
    list(gather(*tiny, one, config=SMALL, stop=2 * reading.CHUNK))
    list(gather(*tiny, two, config=SMALL, start=reading.CHUNK))
    with pytest.raises(InputError, match=f"documents {reading.CHUNK} to {2 * reading.CHUNK - 1} are in both"):
        merged([one, two])
    with pytest.raises(InputError, match="not all"):
        list(finish(*tiny, [one], tmp_path / "a.sqlite"))
    with pytest.raises(InputError, match="multiples"):
        list(gather(*tiny, one, config=SMALL, start=5))


def test_a_part_that_is_cut_or_foreign_or_newer_is_refused(tiny, tmp_path):
    part = tmp_path / "a.part"
    list(gather(*tiny, part, config=SMALL))
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match="whole"):
        list(gather(*tiny, part, config=SMALL, resume=True))
    files.save_tensors(part, {"a": torch.zeros(1)}, {"format": "clew.harvest", "schema": "99"})
    with pytest.raises(FileError, match="schema 99"):
        FeatureTables.load(part)
    files.save_tensors(part, {"a": torch.zeros(1)})
    with pytest.raises(FileError, match="no part of a harvest"):
        FeatureTables.load(part)


def test_a_dictionary_of_another_model_is_refused(tiny, tmp_path):
    subject = models.subject("gemma2", torch.float32)
    with pytest.raises(MismatchError, match="does not fit"):
        list(gather(subject, tiny[1], tiny[2], tmp_path / "a.part"))


def test_what_is_not_asked_for_is_left_out(tiny, tmp_path):
    config = HarvestConfig(related=0, silent=0, pool=0, pairs=0)
    with made(*tiny, tmp_path / "a.sqlite", config) as atlas:
        card = atlas["L1/3"]
        atlas.check_whole()
    assert card.top
    assert card.promoted
    assert card.silent == card.together == card.inputs == card.outputs == card.nearest_decoder == ()


def test_settings_that_keep_nothing_are_refused():
    with pytest.raises(InputError):
        HarvestConfig(contexts=0)
