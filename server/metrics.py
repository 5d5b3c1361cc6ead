"""Prometheus metrics, one registry per app. No person and no text is ever a label."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server.recent import Recent
from store.records import Answer, AnswerState, EngineStatus, PolicyVersion, Vote, now

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What this server has done since it started."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.recent = Recent()
        self._requests = Counter(
            "heed_http_requests", "HTTP requests", ["route", "method", "code"], registry=registry
        )
        self._duration = Histogram(
            "heed_http_request_duration_seconds",
            "Time to the end of the response",
            ["route", "method"],
            registry=registry,
            buckets=SECONDS,
        )
        self._first_word = Histogram(
            "heed_generation_ttft_seconds",
            "Time from the request to an answer's first word",
            ["version"],
            registry=registry,
            buckets=SECONDS,
        )
        self._ended = Counter(
            "heed_generations_ended", "Answers of the chat that ended", ["state"], registry=registry
        )
        self._tokens = Counter("heed_generation_tokens", "Tokens answered", ["version"], registry=registry)
        self._in_flight = Gauge(
            "heed_generations_in_flight", "Answers under way", ["engine"], registry=registry
        )
        self._votes = Counter("heed_votes", "Votes counted", ["kind", "choice"], registry=registry)
        self._vote_latency = Histogram(
            "heed_vote_latency_seconds", "Time to log a vote durably", registry=registry, buckets=SECONDS
        )
        self._version = Gauge("heed_version_info", "The active version", ["version"], registry=registry)
        self._engine_up = Gauge("heed_engine_up", "1 when the engine is ready", ["engine"], registry=registry)
        self.queue = Gauge("heed_queue_requests", "Requests that wait for an engine", registry=registry)
        self._waited = Histogram(
            "heed_queue_wait_seconds",
            "Time from a request to its place on an engine",
            registry=registry,
            buckets=SECONDS,
        )
        self.sse_clients = Gauge("heed_sse_clients", "Open event streams", registry=registry)

    @property
    def open_streams(self) -> int:
        """Event streams that browsers have open on this server."""
        return int(self.registry.get_sample_value("heed_sse_clients") or 0)

    @property
    def waiting(self) -> int:
        """Requests that wait for an engine."""
        return int(self.registry.get_sample_value("heed_queue_requests") or 0)

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        self._requests.labels(route, method, str(code)).inc()
        self._duration.labels(route, method).observe(seconds)

    def first_word(self, answer: Answer, *, first: bool) -> None:
        if first:
            waited = (now() - answer.created_at).total_seconds()
            self._first_word.labels(f"v{answer.policy_version}").observe(waited)
            self.recent.first_word(waited)

    def ended(self, state: AnswerState) -> None:
        self._ended.labels(state).inc()
        self.recent.ended(failed=state == "failed")

    def waited(self, seconds: float) -> None:
        self._waited.observe(seconds)

    def answered(self, version: int, tokens: int | None) -> None:
        self._tokens.labels(f"v{version}").inc(tokens or 0)

    def vote(self, vote: Vote, began: float) -> None:
        self._votes.labels(vote.kind, vote.choice).inc()
        self._vote_latency.observe(time.monotonic() - began)

    def engines(self, statuses: list[EngineStatus]) -> None:
        for status in statuses:
            self._in_flight.labels(status.name).set(status.in_flight)
            self._engine_up.labels(status.name).set(status.state == "ready")

    def active(self, version: PolicyVersion | None) -> None:
        self._version.clear()
        if version is not None:
            self._version.labels(f"v{version.number}").set(1)
