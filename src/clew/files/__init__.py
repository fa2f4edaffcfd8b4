"""The only package that opens files.

Writes are atomic (`atomic`); text is read as people and other programs write it (`reading`). Tensors are safetensors,
mapped into memory (`tensors`), or arrays of NumPy (`arrays`); what the hub has comes from its cache (`hub`). Tables are
Parquet and CSV (`tables`); what many processes write at once is SQLite (`database`); everything else is JSON, text or a
picture. Clew's own files say their format, schema and provenance (`envelope`).
"""

from clew.files.arrays import load_arrays
from clew.files.atomic import (
    clear_temporaries,
    free_bytes,
    read_bytes,
    sha256,
    write_bytes,
    write_json,
    write_text,
)
from clew.files.database import database_errors, new_database, open_database, read_database, read_only, transaction
from clew.files.envelope import Envelope, provenance
from clew.files.folders import clear_orphans, names_below, new_folder, recover
from clew.files.hub import SCHEME, hub_folder, interrupted_downloads, local_file, local_folder
from clew.files.listing import check_listing, listing
from clew.files.locks import lock_file, lock_folder
from clew.files.origin import GRAPH_JSON, PAGE, PICTURE, SOFTWARE, kind_of
from clew.files.reading import (
    byte_lines,
    ending,
    half_character,
    json_lines,
    lines,
    numbered_rows,
    read_json,
    read_text,
    table_rows,
)
from clew.files.tables import parquet_rows, read_table, table_note, write_csv, write_figure, write_table
from clew.files.tensors import load_note, load_tensors, save_tensors, scratch_tensor

__all__ = [
    "GRAPH_JSON",
    "PAGE",
    "PICTURE",
    "SCHEME",
    "SOFTWARE",
    "Envelope",
    "byte_lines",
    "check_listing",
    "clear_orphans",
    "clear_temporaries",
    "database_errors",
    "ending",
    "free_bytes",
    "half_character",
    "hub_folder",
    "interrupted_downloads",
    "json_lines",
    "kind_of",
    "lines",
    "listing",
    "load_arrays",
    "load_note",
    "load_tensors",
    "local_file",
    "local_folder",
    "lock_file",
    "lock_folder",
    "names_below",
    "new_database",
    "new_folder",
    "numbered_rows",
    "open_database",
    "parquet_rows",
    "provenance",
    "read_bytes",
    "read_database",
    "read_json",
    "read_only",
    "read_table",
    "read_text",
    "recover",
    "save_tensors",
    "scratch_tensor",
    "sha256",
    "table_note",
    "table_rows",
    "transaction",
    "write_bytes",
    "write_csv",
    "write_figure",
    "write_json",
    "write_table",
    "write_text",
]
