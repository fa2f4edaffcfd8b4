"""A model that cannot be read is one line and exit code 2, whatever is wrong with it."""

import json

import pytest

from tests import models
from tests.cli.test_cli import refused


def lacking(folder):
    models.model("llama").save_pretrained(folder, max_shard_size="20KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def interrupted(folder):
    lacking(folder)
    left = folder / ".cache" / "huggingface" / "download" / "model.0123.incomplete"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")


def configured(folder, **settings):
    models.model("llama").save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def own_code(folder):
    configured(folder, model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})


def pictures(folder):
    configured(folder, architectures=["Gemma3ForConditionalGeneration"])


def encoder_decoder(folder):
    configured(folder, architectures=["T5ForConditionalGeneration"], model_type="t5")


FAULTS = {
    lacking: "lacks model-00002-of-",
    interrupted: "downloads were interrupted there: download it again",
    own_code: "code of its own, which is never run",
    pictures: "it reads more than text, or has an encoder",
    encoder_decoder: "it reads more than text, or has an encoder",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("verb", ["trace", "train"])
def test_a_model_that_cannot_be_read_is_refused_in_one_line(verb, fault, run, capsys, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    models.tokenizer().save_pretrained(folder)
    fault(folder)
    capsys.readouterr()  # bars of what was saved
    rest = {"trace": ["--dictionary", tmp_path], "train": ["--text", "samples", "--yes"]}[verb]
    words = {"trace": ["trace", "x"], "train": ["train", tmp_path / "run"]}[verb]
    refused(run(*words, "--model", folder, *rest), FAULTS[fault])
