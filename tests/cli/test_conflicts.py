"""Options that cannot be honoured together are refused by name, before a model is loaded: none is dropped."""

import pytest

PROMPT = "The capital of France is"
PAIR = ("--model", "m", "--dictionary", "d")


@pytest.fixture
def run(run, monkeypatch):
    """The command line, where loading a kit or a model is too late for a refusal."""

    def late(*arguments, **options):
        raise AssertionError("the refusal comes after the work began")

    monkeypatch.setattr("clew.cli.kits.load", late)
    monkeypatch.setattr("clew.runs.plan.load_subject", late)
    monkeypatch.setattr("clew.runs.evaluate.load_subject", late)
    return run


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("trace", PROMPT, "--answer", " Paris", "-t", "Rome"), ("--answer", "--target")),
        (("trace", PROMPT, "--answer", " Paris", "--position", "2"), ("--answer", "--position")),
        (("trace", PROMPT, "--kit", "minnow", *PAIR), ("--kit", "--model")),
        (("trace", PROMPT, "--kit", "no such kit", *PAIR), ("--kit", "--model")),
        (("trace", PROMPT, "--kit", "minnow", "--dictionary", "d"), ("--kit", "--dictionary")),
        (("edit", PROMPT, "--ablate", "L0/1", "--kit", "minnow", *PAIR), ("--kit", "--model")),
        (("edit", PROMPT, "--ablate", "L0/1", "--generate", "3", "--seed", "5"), ("--seed", "--temperature")),
        (("edit", PROMPT, "--ablate", "L0/1", "--generate", "3", "--top-p", "0.5"), ("--top-p", "--temperature")),
        (("audit", "--graph", "a.graph", "-t", "Rome"), ("--graph", "--target")),
        (("audit", "--graph", "a.graph", "--prompts", "p.txt"), ("--graph", "--prompts")),
        (("audit", PROMPT, "--dictionary", "neurons", "--kit", "minnow", "--model", "m"), ("--kit", "--model")),
        (("serve", "--kit", "minnow", *PAIR), ("--kit", "--model")),
        (("harvest", "a.sqlite", "--kit", "minnow", *PAIR), ("--kit", "--model")),
        (("harvest", "a.sqlite", "--field", "body"), ("--field", "--text")),
        (("harvest", "a.sqlite", "--text", "samples", "--cut", "file"), ("--cut", "--text")),
        (("train", "runs/a", "--kit", "minnow", "--model", "m"), ("--kit", "--model")),
        (("train", "runs/a", "--sparsity", "0.1"), ("sparsity", "batchtopk")),
        (("train", "runs/a", "--split", "test"), ("--split", "--text")),
        (("train", "runs/a", "--bos", "document", "--no-bos"), ("--bos", "--no-bos")),
        (("harvest", "a.sqlite", "--bos", "row", "--no-bos"), ("--bos", "--no-bos")),
        (("eval", "--bos", "row", "--no-bos"), ("--bos", "--no-bos")),
        (("eval", "d", "--kit", "minnow", "--model", "m"), ("--kit", "--model")),
        (("eval", "--no-nulls", "--null-steps", "10"), ("null_steps", "--no-nulls")),
        (("features", "show", "L0/1", "--kit", "minnow", *PAIR), ("--kit", "--model")),
        (("features", "export", "a.parquet", "--source", "mine"), ("--source", "parquet")),
        (("label", "L0/1", "--author", "Ann"), ("--author", "--text")),
        (("labels", "list", "mine", "--add", "L0/1", "--remove", "L0/1"), ("--add", "--remove")),
    ],
    ids=lambda value: " ".join(value),
)
def test_options_that_contradict_each_other_are_refused_by_name(run, arguments, names):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    for name in names:
        assert name in err


@pytest.mark.parametrize(
    ("name", "option"), [("a.jsonl", "--cut"), ("a.csv", "--split"), ("a.txt", "--field"), ("a.safetensors", "--field")]
)
def test_a_setting_that_the_text_has_no_use_for_is_refused(run, tmp_path, name, option):
    (tmp_path / name).write_text("text\n")
    code, _, err = run("harvest", "a.sqlite", "--text", name, option, "file" if option == "--cut" else "other")
    assert code == 2
    assert option in err
    assert name in err
