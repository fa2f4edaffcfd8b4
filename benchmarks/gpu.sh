#!/usr/bin/env bash
# Everything that a GPU is to show, in one run of ten minutes: bash benchmarks/gpu.sh [FOLDER]
# Needs Python with the packages of pyproject.toml, a CUDA build of torch and Triton (which that brings). Parts that take
# too long are cut off and the next one begins; results lie in FOLDER/*.json, and the longest part comes last.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/gpu}
mkdir -p "$out"
export PYTHONPATH=src HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
python=${PYTHON:-python3}
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv | tee "$out/device.csv"
"$python" -c 'import torch, triton; print("torch", torch.__version__, "triton", triton.__version__, torch.cuda.is_available())'
missed=0
part() { # seconds, name
    timeout "$1" "$python" benchmarks/gpu.py --parts "$2" --out "$out/$2.json" 2>&1 | tail -40
    if [ "${PIPESTATUS[0]}" != 0 ]; then missed=1; echo "$2: missed, or cut off after $1 s"; fi
}
part 90 kernels
part 120 training
part 200 loss
part 170 trace
exit "$missed"
