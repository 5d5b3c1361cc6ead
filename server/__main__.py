"""Run the server: `python -m server`."""

from __future__ import annotations

import logging
import sys

import uvicorn

from server.app import create_app
from server.settings import ServerSettings
from store.settings import ConfigError


def main() -> None:
    """Serve until SIGTERM or Ctrl-C. Exit code 2: a setting cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = ServerSettings()
        app = create_app(settings)
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"heed: {error}\n")
        sys.exit(2)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
