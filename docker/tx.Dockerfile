# The transmitter, for a small board: ONNX Runtime, no torch.
#   docker build -f docker/tx.Dockerfile -t diffjscc-tx .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY simulator simulator
COPY tx tx
COPY rx rx
COPY channel channel
RUN python -m venv --without-pip /opt/diffjscc
RUN pip --python /opt/diffjscc install ".[tx]"

FROM python:3.11-slim
COPY --from=build /opt/diffjscc /opt/diffjscc
ENV PATH=/opt/diffjscc/bin:$PATH
RUN useradd --create-home --uid 1000 diffjscc
USER diffjscc
WORKDIR /home/diffjscc
RUN mkdir runs
ENTRYPOINT ["diffjscc", "tx"]
