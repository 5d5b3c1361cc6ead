"""The API's schema: what the web page's types and other clients are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.app import create_app
from server.settings import ServerSettings
from tests.fakes import ScriptedPool

CONTRACT = """
GET POST /api/v1/setup
POST /api/v1/login
POST /api/v1/logout
GET /api/v1/me
POST /api/v1/login/confirm
POST /api/v1/password
GET DELETE /api/v1/sessions
DELETE /api/v1/sessions/{session_id}
GET POST /api/v1/keys
DELETE /api/v1/keys/{key_id}
GET POST /api/v1/accounts
PATCH /api/v1/accounts/{account_id}
POST /api/v1/accounts/{account_id}/password-link
GET POST /api/v1/invites
DELETE /api/v1/invites/{invite_id}
POST /api/v1/invites/look
POST /api/v1/invites/accept
GET /api/v1/audit
GET /api/v1/audit.csv
GET /api/v1/audit/verify
GET POST /api/v1/conversations
GET PATCH DELETE /api/v1/conversations/{conversation_id}
POST /api/v1/conversations/{conversation_id}/restore
GET /api/v1/conversations/{conversation_id}/export
POST /api/v1/conversations/import
GET /api/v1/search
POST /api/v1/conversations/{conversation_id}/messages
POST /api/v1/conversations/{conversation_id}/answers
GET /api/v1/streams/{stream_id}
POST /api/v1/answers/{answer_id}/stop
POST /api/v1/answers/{answer_id}/continue
GET /api/v1/duels/{duel_id}
GET POST /api/v1/votes
GET /api/v1/votes/mine
GET PATCH DELETE /api/v1/votes/{vote_id}
POST /api/v1/votes/{vote_id}/reviews
POST /api/v1/votes/{vote_id}/queue
POST /api/v1/exclusions
POST /api/v1/restorations
GET /api/v1/statistics
GET /api/v1/leaderboard
GET /api/v1/exports
GET POST /api/v1/imports
PATCH /api/v1/imports/{import_id}
GET /api/v1/policies/{number}/taint
GET PUT /api/v1/guidelines
GET /api/v1/votes/{vote_id}/opinion
GET /api/v1/hacking
GET /api/v1/guidelines/{version}
POST /api/v1/guidelines/read
GET /api/v1/queue
POST /api/v1/queue/next
POST /api/v1/queue/release
POST /api/v1/queue/flags
GET POST /api/v1/queue/items
DELETE /api/v1/queue/items/{item_id}
GET /api/v1/status
GET POST /api/v1/engines
POST /api/v1/engines/{name}/drain
DELETE /api/v1/engines/{name}
GET POST /api/v1/runs
GET /api/v1/runs/{run_id}
GET /api/v1/runs/{run_id}/metrics
GET /api/v1/runs/{run_id}/data
POST /api/v1/runs/{run_id}/cancel
POST /api/v1/runs/{run_id}/retry
GET /api/v1/runs/{run_id}/annotators
GET /api/v1/runs/{run_id}/log
GET /api/v1/runs/{run_id}/samples
GET /api/v1/runs/{run_id}/alerts
POST /api/v1/runs/{run_id}/alerts/{alert_id}/acknowledge
GET POST /api/v1/plan
GET /api/v1/plan/data
DELETE /api/v1/requests/{request_id}
GET /api/v1/schedule
PUT DELETE /api/v1/schedule/pause
PATCH DELETE /api/v1/schedule/rules
GET /api/v1/system
GET /api/v1/policies
GET /api/v1/policies/history
GET /api/v1/policies/{number}
GET /api/v1/policies/{number}/preflight
GET /api/v1/policies/{number}/samples
GET /api/v1/policies/{number}/download
POST /api/v1/policies/{number}/promote
PUT /api/v1/canary
POST /api/v1/canary/end
POST /api/v1/policies/rollback
GET /api/v1/events
POST /v1/chat/completions
GET /v1/models
GET /v1/models/{model}
POST /v1/feedback
GET /healthz
GET /readyz
GET /metrics
"""


@pytest.fixture
def schema(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "config.toml").touch()
    settings = ServerSettings(data=tmp_path, redis_url="unix:///nowhere", config=tmp_path / "config.toml")
    return create_app(settings, ScriptedPool(1)).openapi()


def test_the_schema_has_the_contracts_operations_and_no_others(schema: dict[str, Any]) -> None:
    promised = set()
    for line in CONTRACT.strip().splitlines():
        *methods, path = line.split()
        promised |= {(method, path) for method in methods}
    found = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    assert found == promised


def test_the_events_of_a_turn_are_one_discriminated_union(schema: dict[str, Any]) -> None:
    response = schema["paths"]["/api/v1/streams/{stream_id}"]["get"]["responses"]["200"]
    union = response["content"]["text/event-stream"]["schema"]
    assert union["discriminator"]["propertyName"] == "type"
    names = {"answer.start", "turn.waiting", "answer.delta", "answer.end", "duel.ready", "turn.end"}
    assert set(union["discriminator"]["mapping"]) == names


def test_a_duels_answers_may_come_without_a_version(schema: dict[str, Any]) -> None:
    shapes = schema["components"]["schemas"]
    for shape, field in (("AnswerOut", "policy_version"), ("DuelOut", "version_a"), ("DuelOut", "version_b")):
        assert {"type": "null"} in shapes[shape]["properties"][field]["anyOf"]
