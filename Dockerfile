# `coleaf` in a container. PyTorch's wheel brings CUDA's libraries; the host has NVIDIA's driver and container toolkit.
#   docker build -t coleaf --build-arg UID="$(id -u)" .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" coleaf train --data data/llp --out runs/han
# Without CUDA, and gigabytes smaller: --build-arg PIP_EXTRA_INDEX_URL=INDEX, PyTorch's index of its CPU builds, where
# pip also looks then. The build argument EXTRAS names extras with commas between.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY coleaf_framework coleaf_framework
COPY backbones backbones
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
COPY constraints.txt /wheels/constraints.txt
# PyTorch alone first: its layer, the largest by far, stays as it is when the code changes.
RUN pip install --no-cache-dir -c /wheels/constraints.txt torch
ARG EXTRAS=all
COPY --from=build /wheels/*.whl /wheels/
RUN pip install --no-cache-dir -c /wheels/constraints.txt "$(echo /wheels/*.whl)[${EXTRAS}]"
ARG UID=1000
RUN useradd --create-home --uid "${UID}" coleaf && install --directory --owner=coleaf /work
USER coleaf
WORKDIR /work
ENTRYPOINT ["coleaf"]
CMD ["--help"]
