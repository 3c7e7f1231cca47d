#!/bin/sh
# Every check that needs a GPU, as one JSON file: docs/gpu.md.
cd "$(dirname "$0")/.." && exec "${PYTHON:-python}" -W ignore -m benchmarks.gpu "$@"
