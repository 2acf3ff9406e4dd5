# One image for every service of docker-compose.yaml: the same environments that make builds on a laptop.
FROM python:3.12-slim AS evaluator
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY model_server /build/model_server
RUN cd /build && python -m model_server.evaluator

FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 fleet \
    && install -d -o fleet -g fleet /state /opt/city-fleet

USER fleet
WORKDIR /opt/city-fleet

# The environments first: they change seldom and take longest.
COPY --chown=fleet local_stack/bootstrap.py local_stack/bootstrap.py
COPY --chown=fleet requirements.lock requirements.lock
COPY --chown=fleet include/scripts/requirements.txt include/scripts/requirements.txt
RUN python local_stack/bootstrap.py --python python3 && rm -rf "$HOME/.cache"

COPY --chown=fleet . .
COPY --from=evaluator --chown=fleet /build/model_server/_build model_server/_build

ENV PATH=/opt/city-fleet/.venv/bin:$PATH PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "local_stack.container"]
