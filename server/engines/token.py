"""The secret between the server and the sidecars of engines on other hosts."""

from __future__ import annotations

from server.settings import ServerSettings
from store.settings import ConfigError
from store.tokens import token_in

MIN_LENGTH = 24


def engine_token(settings: ServerSettings) -> str:
    """HEED_ENGINE_TOKEN, else the one in `<data>/secrets/engine_token`, made at the first call.

    Raises ConfigError when it is too short to be a secret.
    """
    if settings.engine_token is None:
        return token_in(settings.data / "secrets" / "engine_token")
    token = settings.engine_token.get_secret_value()
    if len(token) < MIN_LENGTH:
        raise ConfigError(f"HEED_ENGINE_TOKEN: too short; use at least {MIN_LENGTH} random characters")
    return token
