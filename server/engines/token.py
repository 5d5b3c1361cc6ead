"""The secret between the server and the sidecars of engines on other hosts."""

from __future__ import annotations

from server.settings import ServerSettings
from store.tokens import token_in


def engine_token(settings: ServerSettings) -> str:
    """HEED_ENGINE_TOKEN, else the one in `<data>/secrets/engine_token`, made at the first call."""
    if settings.engine_token is not None:
        return settings.engine_token.get_secret_value()
    return token_in(settings.data / "secrets" / "engine_token")
