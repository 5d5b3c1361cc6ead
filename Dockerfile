# One image for the server, the engines and the workers of docker-compose.yml.
FROM node:22-slim AS page
WORKDIR /webui
COPY webui/package.json webui/package-lock.json ./
RUN npm ci --no-audit --no-fund || npm install --no-save --no-audit --no-fund
COPY webui/ ./
RUN npm run build

FROM python:3.11-slim
ARG KIND=cpu
RUN useradd --create-home --uid 10001 heed && install -d -o heed -m 0700 /data
WORKDIR /app
COPY requirements.lock requirements-gpu.lock ./
COPY scripts/ scripts/
RUN python scripts/setup.py --no-web --kind "$KIND"
COPY configs/ configs/
COPY store/ store/
COPY server/ server/
COPY trainer/ trainer/
COPY workers/ workers/
COPY --from=page /webui/dist webui/dist
ENV PATH=/app/.venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 HEED_DATA=/data
USER heed
VOLUME /data
CMD ["python", "-m", "server"]
