# The transmitter, for a small board: ONNX Runtime, no torch. amd64 and arm64.
#   docker build -f docker/tx.Dockerfile -t diffjscc-tx .
#   docker buildx build --platform linux/amd64,linux/arm64 -f docker/tx.Dockerfile -t diffjscc-tx .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY simulator simulator
COPY tx tx
COPY rx rx
COPY channel channel
RUN python -m venv --without-pip /opt/diffjscc
RUN pip --python /opt/diffjscc install ".[tx,metrics]"

FROM python:3.11-slim
COPY --from=build /opt/diffjscc /opt/diffjscc
ENV PATH=/opt/diffjscc/bin:$PATH
RUN useradd --create-home --uid 1000 diffjscc
USER diffjscc
WORKDIR /home/diffjscc
RUN mkdir runs
HEALTHCHECK --start-period=60s CMD ["diffjscc", "doctor", "--health", "127.0.0.1:9100"]
ENTRYPOINT ["diffjscc", "tx"]
