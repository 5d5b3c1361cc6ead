"""Prometheus metrics of this server."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

VOTES = Counter("heed_votes_total", "Votes that were logged", ["kind", "choice"])
TOKENS = Counter("heed_generation_tokens_total", "Response tokens", ["version"])
IN_FLIGHT = Gauge("heed_generations_in_flight", "Answers under way", ["engine"])
SERVING = Gauge("heed_serving_version", "Version that new answers get")
