"""The README and the docs as they are written: code runs and prints what is shown, commands and links exist."""

import importlib
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

import clew
from tests.pages import NUMBER, PAGES, ROOT, blocks, difference, split_commands
from tests.test_layers import ORDER

MOST_NOT_RUN = 26
EXTRA = "needs the extra smollm2"  # these are run by tests/test_smollm2_page.py, where it is installed
REASON = re.compile(r"(needs|takes|would) ")


def named(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_runs_as_it_is_written_and_prints_what_it_shows(page, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names, printed = {"__name__": "__main__"}, None
    for block in blocks(page.read_text()):
        place = f"{named(page)}:{block.line}"
        if block.language == "text":
            assert printed is None or difference(block.text, printed) is None, (
                f"{place} is not what is printed:\n{printed}"
            )
            printed = None
        elif block.not_run or block.language not in ("python", "sh"):
            printed = None
        elif block.language == "python":
            printed = executed(block.text, names, place)
        else:
            printed = commanded(block.commands, run, place)


def executed(text, names, place):
    output = StringIO()
    with redirect_stdout(output):
        exec(compile(text, place, "exec"), names)
    return output.getvalue()


def commanded(commands, run, place):
    printed = ""
    for program, *arguments in commands:
        assert program == "clew", f"{place}: {program} is not run here; say why with <!-- not run: ... -->"
        code, output, error = run(*arguments)
        assert code == 0, f"{place}: clew {' '.join(arguments)} ends with {code}: {error}"
        printed += output
    return printed


def test_few_blocks_are_not_run_and_each_says_why():
    reasons = [block.not_run for page in PAGES for block in blocks(page.read_text())]
    reasons = [reason for reason in reasons if reason not in (None, EXTRA)]
    assert len(reasons) <= MOST_NOT_RUN, reasons
    assert all(REASON.match(reason) for reason in reasons), reasons


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_and_option_that_a_page_names_exists(page):
    text = page.read_text()
    commands = [words for block in blocks(text) if block.language == "sh" for words in block.commands]
    for row in re.findall(r"^.*`clew .*$", text, flags=re.MULTILINE):
        spans = re.findall(r"`([^`]+)`", row)
        commands += [words for span in spans if span.startswith("clew ") for words in split_commands(span)]
    for program, *arguments in commands:
        if program == "clew":
            check(arguments)


def check(arguments):
    """Every word that names a command or an option is known; values are not looked at."""
    from clew.cli.commands import COMMANDS
    from clew.cli.lazy_group import CommandGroup

    line, entry, name, words = f"clew {' '.join(arguments)}", COMMANDS, "clew", list(arguments)
    while isinstance(entry, CommandGroup) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in entry.commands, f"{line}: there is no {name}"
        entry = entry.commands[name]
    options = {"--help", "--version"}
    if not isinstance(entry, CommandGroup):
        parameters = entry.load(name).params
        options |= {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word):
            assert word.split("=")[0] in options, f"{line}: there is no {word}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"], ids=named)
def test_links_lead_to_files_that_exist(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_and_functions_that_a_page_names_exist(page):
    for name in re.findall(r"`(clew(?:\.\w+)+)`", page.read_text()):
        assert resolve(name) is not None


def resolve(name):
    """The object with a dotted name, importing the modules on the way."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(resolve(module), attribute)


def test_the_architecture_page_has_the_order_that_imports_are_held_to():
    """The levels of `tests/test_layers.py`, with those left out that are planned and not there yet."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (line,) = [block.text for block in blocks(page) if block.language == "levels"]
    source = ROOT / "src" / "clew"
    there = {path.stem for path in source.iterdir()}
    held = [[name for name in level.split() if name in there] for level in ORDER.split("|")]
    assert [level.split() for level in line.split("|")] == [level for level in held if level]


def test_the_rooms_of_the_architecture_page_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms, places = page.split("## The rooms")[1].split("## Rules")[0].split("## Find the room")
    for room, inside in re.findall(r"^\| `([a-z]+/)` \| (.+?) \|", rooms, flags=re.MULTILINE):
        places += "".join(f" `{room}{name}`" for name in re.findall(r"`([a-z_]+)`", inside))
    for place in re.findall(r"`([a-z_]+(?:/[a-z_]+)*)/?`", places):
        path = ROOT / "src" / "clew" / place
        assert path.is_dir() or path.with_suffix(".py").is_file(), place


def test_the_page_of_models_lists_the_table_of_families():
    from clew.subject.families import FAMILIES

    page = (ROOT / "docs" / "models.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", page, flags=re.MULTILINE)
    assert rows == [(family.name, family.architecture) for family in FAMILIES.values()]


def test_the_page_of_dictionaries_lists_the_table_of_layouts():
    from clew.dictionary.layouts import table

    page = (ROOT / "docs" / "dictionaries.md").read_text()
    rows = page.split("|---|---|---|---|---|\n")[1].split("\n\n")[0]
    assert rows.splitlines() == table()


def test_the_reference_has_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text()
    public = [name for name in clew.__all__ if not name.startswith("__")]
    assert sorted(re.findall(r"^::: clew\.(\w+)$", page, flags=re.MULTILINE)) == sorted(public)


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    program = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES) - 2
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?://[^\s\">]+)", page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded}"


def test_what_is_shown_is_compared_word_by_word():
    assert difference("score 0.93\n…\nend", "a score  0.94\nmore\n the end") is None
    assert difference("end\n…\nscore 0.93", "a score  0.94\nmore\n the end") == "score 0.93"
    assert difference("score 0.93", "score 0.95") == "score 0.93"
    assert difference("0.08 s", "3.1 s") is None
    assert NUMBER.sub("", "L0/2028@5") == "L/@"
    assert difference("L0/2028@5", "L0/2029@5") is not None
