# The channel emulator: numpy and ZeroMQ.
#   docker build -f docker/channel.Dockerfile -t diffjscc-channel .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY simulator simulator
COPY tx tx
COPY rx rx
COPY channel channel
RUN python -m venv --without-pip /opt/diffjscc
RUN pip --python /opt/diffjscc install ".[metrics]"

FROM python:3.11-slim
COPY --from=build /opt/diffjscc /opt/diffjscc
ENV PATH=/opt/diffjscc/bin:$PATH
RUN useradd --create-home --uid 1000 diffjscc
USER diffjscc
WORKDIR /home/diffjscc
HEALTHCHECK --start-period=30s CMD ["diffjscc", "doctor", "--health", "127.0.0.1:9100"]
ENTRYPOINT ["diffjscc", "channel"]
