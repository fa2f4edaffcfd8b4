"""Compile every Triton kernel for GPUs that need not be there: `python -m tests.kernels.compiled_for_gpus`.

The interpreter runs what no GPU could: this is the other half of the check. Prints bytes of
machine code and of shared memory; a kernel that does not compile ends it.
"""

import os

os.environ["TRITON_INTERPRET"] = "0"

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from clew.kernels import triton_loops as loops
from clew.kernels import triton_update as updates
from clew.kernels.triton_decode import GPU, OPTIONS

IDS, F, H, N = "*i64", "*fp32", "*bf16", "i32"
MOVED = {16: updates.MovedRows(F, "*i16", "*i16", N, F, IDS), 32: updates.MovedRows(F, F, F, N, F, IDS)}
PAIRS = updates.PairsOfFeatures(IDS, IDS, IDS, IDS, F, F, N)
CHOSEN, BLOCKS = loops.Chosen(IDS, "*i32", "*i32", N), {"ITEMS": GPU.items, "PAIRS": GPU.pairs, "COLS": GPU.cols}
POS, FEATURES, DEPTH = GPU.product


def kernels():
    """Each kernel with the types of its arguments and its constants, at the sizes that a GPU gets."""
    row = loops.Matrix(F, N, N)
    for stored in (F, H):
        yield loops.add_rows, [loops.PositionPairs(IDS, IDS, F, N), loops.Matrix(stored, N, N), row], BLOCKS
    yield loops.dots, [IDS, IDS, row, loops.Encoders(F, F, F, N), F, N], {"PAIRS": 4 * GPU.pairs, "COLS": 256}
    for narrow, bits in (("*i16", 15), ("*i32", 31)):
        select = {"ROWS": GPU.items, "GROUPS": GPU.groups, "BITS": bits, "WIDE": tl.int32}
        yield loops.list_strongest, [loops.Matrix(narrow, N, N), CHOSEN, N, N], select
    yield loops.pick_strongest, [CHOSEN, N, IDS, "*i32", N], {"ROWS": GPU.items, "ROOM": 64, "BITS": 31}
    product = {"POS": POS, "FEATURES": FEATURES, "DEPTH": DEPTH, "WIDEN": False}
    for read in (F, H):
        chosen = loops.Chosen("*i32", F, "*i32", N)
        yield loops.encode_above, [loops.Matrix(read, N, N), loops.Encoders(read, F, F, N), chosen, N], product
    for moments in MOVED.values():
        yield updates.update_decoder, [PAIRS, row, moments, updates.Parts(F, F, N)], BLOCKS
        yield updates.update_encoder, [PAIRS, row, moments, updates.Inputs(F, N, MOVED[32])], BLOCKS


def main() -> None:
    for kernel, arguments, constants in kernels():
        names = kernel.arg_names
        signature = dict(zip(names, arguments, strict=False)) | dict.fromkeys(constants, "constexpr")
        places = {(names.index(name),): value for name, value in constants.items()}
        for target in (90, 80):
            options = OPTIONS | {"num_warps": 8 if "DEPTH" in constants else 4}
            source = ASTSource(fn=kernel, signature=signature, constexprs=places)
            code = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
            n = len(code.asm["cubin"])
            print(f"sm_{target} {kernel.__name__:16} {n:7,} bytes, {code.metadata.shared:7,} of shared memory")
            assert n > 1000


if __name__ == "__main__":
    main()
