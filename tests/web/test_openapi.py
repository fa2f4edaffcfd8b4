"""The page's contract: what stands in web/openapi.json is what the server declares."""

from pathlib import Path

from clew import files
from clew.web.app import declared
from clew.web.openapi import document

WRITTEN = Path(__file__).parents[2] / "web" / "openapi.json"


def test_the_written_document_is_what_the_server_declares() -> None:
    assert files.read_json(WRITTEN) == document(declared()), "run: python -m clew.web.write_openapi web/openapi.json"


def test_every_address_says_how_it_refuses() -> None:
    for path, methods in document(declared())["paths"].items():
        for method, operation in methods.items():
            assert {"400", "403", "404", "413", "422", "507"} <= operation["responses"].keys(), (method, path)


def test_every_view_allows_only_what_is_named() -> None:
    schemas = document(declared())["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema["additionalProperties"] is False, name
