# docker build -t viscera .                        for any x86-64 machine
# docker build --build-arg TORCH=cuda -t viscera . for machines with an NVIDIA GPU
# docker run --rm -v "$PWD/ct:/in:ro" -v "$PWD/out:/out" --user "$(id -u):$(id -g)" \
#     viscera segment /in -o /out
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH=cpu
WORKDIR /src
COPY . .
RUN VENV=/opt/viscera TORCH=${TORCH} PIP_NO_CACHE_DIR=1 python3 scripts/bootstrap.py --wheel

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="viscera" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 1000 viscera
COPY --from=build /opt/viscera /opt/viscera
ENV PATH=/opt/viscera/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER viscera
WORKDIR /home/viscera
ENTRYPOINT ["viscera"]
