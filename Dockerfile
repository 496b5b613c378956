# docker build -t viscera .                        for any x86-64 machine
# docker build --build-arg TORCH=cuda -t viscera . for machines with an NVIDIA GPU
# docker run -d --stop-timeout 45 -p 11112:11112 -v "$PWD/node.yaml:/etc/viscera/node.yaml:ro" \
#     -v viscera:/var/lib/viscera viscera
# docker run --rm -v "$PWD/ct:/in:ro" -v "$PWD/out:/out" --user "$(id -u):$(id -g)" \
#     viscera segment /in -o /out
# With podman, --format docker: other images have no HEALTHCHECK.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH=cpu
WORKDIR /src
COPY . .
# without pip, what only programs built on PyTorch need, and CuPy, which Holoscan uses on a GPU only
RUN VENV=/opt/viscera TORCH=${TORCH} PIP_NO_CACHE_DIR=1 python3 scripts/bootstrap.py --wheel \
    && /opt/viscera/bin/python -m pip uninstall --quiet --yes pip \
        $([ "${TORCH}" = cuda ] || echo cupy-cuda13x) \
    && cd /opt/viscera/lib/python3*/site-packages \
    && rm -rf torch/include torch/share torch/test torch/bin/[!t]* torch/bin/test*

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="viscera" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 1000 --user-group --home-dir /tmp --no-create-home viscera \
    && install -d -o viscera -g viscera -m 0700 /var/lib/viscera \
    && install -d /etc/viscera
COPY --from=build /opt/viscera /opt/viscera
# a user without an entry in /etc/passwd has neither home nor name
ENV PATH=/opt/viscera/bin:${PATH} \
    HOME=/tmp \
    USER=viscera \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /tmp
VOLUME /var/lib/viscera
EXPOSE 11112
STOPSIGNAL SIGTERM
# of `serve`; the answer names the check that is not well
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=3 \
    CMD ["/opt/viscera/bin/python", "-IS", "-c", "import http.client, os, sys; \
port = int(os.environ.get('VISCERA_NODE__HEALTH__PORT', '11114')); \
peer = http.client.HTTPConnection('127.0.0.1', port, timeout=8); \
peer.request('GET', '/readyz'); \
answer = peer.getresponse(); \
print(answer.read().decode()); \
sys.exit(answer.status != 200)"]
ENTRYPOINT ["viscera"]
CMD ["serve", "--config", "/etc/viscera/node.yaml"]
