"""`clew series`: explain, evaluate, plot as a user runs them, and bad input in one line."""

import json

import pytest

from clew import files

NET = """
import torch
class Net(torch.nn.Module):
    classes = ("low", "high")
    def forward(self, x):
        z = x[:, 0].mean(1)
        return torch.stack([-4 * z, 4 * z], 1)
model = Net()
broken = lambda X: ["a"] * len(X)
"""


@pytest.fixture
def data(tmp_path):
    (tmp_path / "net_of_test.py").write_text(NET)
    rows = [
        ",".join(map(str, [*(((-1) ** n) * (0.3 + t / 10 + n / 7) for t in range(6)), "ab"[n % 2]])) for n in range(8)
    ]
    (tmp_path / "x.csv").write_text("\n".join(["0,1,2,3,4,5,label", *rows]) + "\n")
    return ("--data", "x.csv", "--model", "net_of_test:model")


def test_explain_prints_draws_and_keeps_what_plot_draws_again(run, data, tmp_path):
    code, out, err = run("series", "explain", *data, "--plot", "out.png", "--save", "a.json")
    assert (code, err) == (0, "")
    assert "the model says high" in out
    assert "tested: without the tenth of points" in out
    assert files.kind_of(tmp_path / "out.png") == files.PICTURE
    for name in ("again.svg", "page.html"):
        assert run("series", "plot", "a.json", "--output", name)[0] == 0
        assert (tmp_path / name).stat().st_size > 1000
    code, out, _ = run("series", "explain", *data, "--method", "native-guide", "--index", "1", "--index", "2", "--json")
    value = json.loads(out)
    assert code == 0
    assert value["valid"] == [True, True]
    assert set(value["summary"]) == {"native-guide", "nearest unlike neighbour"}


def test_evaluate_prints_methods_beside_nulls(run, data):
    code, out, _ = run("series", "evaluate", *data, "--methods", "gradient,cam", "--cases", "4")
    assert code == 0
    for text in ("gradient", "random", "|x|", "nearest unlike neighbour", "cam was left out"):
        assert text in out
    code, out, _ = run("series", "evaluate", "--data", "rare-time", "--methods", "gradient", "--cases", "2", "--json")
    assert code == 0
    assert {row["name"] for row in json.loads(out)["scores"]} == {"gradient", "random", "|x|", "oracle"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--method", "magic"), "is not known"),
        (("--target", "middle"), "its classes are low, high"),
        (("--segments", "9", "--method", "lime"), "no room for 9 segments"),
        (("--index", "8"), "has the cases 0 to 7"),
        (("--plot", "x.gif"), "ends in .png, .svg or .html"),
        (("--baseline", "noon"), "is not known"),
        (("--unit", "metre"), "probability or logit"),
        (("--model", "net_of_test:broken", "--method", "feature-ablation"), "labels only"),
        (("--model", "nowhere:net"), "cannot be imported"),
        (("--model", "net_of_test"), "MODULE:NAME"),
        (("--data", "Sunspots"), "no data set"),
        (("--data", "holes.csv"), "NaN"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, data, tmp_path, options, reason):
    (tmp_path / "holes.csv").write_text("0,1,2,3,4,5,label\n1,2,,4,5,6,a\n1,2,3,4,5,6,b\n")
    code, _, err = run("series", "explain", *data, *options)
    assert code == 2
    assert reason in err
    assert len(err.strip().splitlines()) == 1


def test_files_of_others_are_left_alone(run, data, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"mine")
    code, _, err = run("series", "explain", *data, "--plot", "mine.png")
    assert (code, (tmp_path / "mine.png").read_bytes()) == (2, b"mine")
    assert "left as it is" in err


@pytest.mark.long
def test_the_first_command_of_the_docs_works(run, tmp_path):
    code, out, _ = run("series", "explain", "--data", "GunPoint", "--index", "0", "--plot", "out.png")
    assert code == 0
    assert "GunPoint, case 0 (labelled 1): the model says 1" in out
