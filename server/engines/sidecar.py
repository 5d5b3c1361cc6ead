"""The only way in to a vLLM on another host: asks for the token, passes on what the server needs.

    HEED_ENGINE_TOKEN=... python -m server.engines.sidecar --socket /run/heed/engine-1.sock --host 10.0.0.7

vLLM itself listens on a Unix socket on that host. What is not in `ALLOWED` does not exist here; a version is
loaded only from this host's own volume, after its files were compared with its manifest.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import logging
import ssl
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from server.engines.token import engine_token
from server.settings import ServerSettings
from store.artifacts import ArtifactError, verify

ALLOWED = {
    *(("GET", path) for path in ("/health", "/weight_info", "/v1/models", "/load", "/metrics")),
    *(("POST", path) for path in ("/v1/chat/completions", "/tokenize", "/detokenize")),
    *(
        ("POST", path)
        for path in ("/update_weight_version", "/pause", "/resume", "/reset_prefix_cache", "/collective_rpc")
    ),
}
PAUSE = "/pause?mode=keep&clear_cache=true"
"""No caller may pause in another way: it would end answers."""
METHODS = {
    "reload_weights": True,
    "compare_weights": True,
    "clear_kv_cache": False,
    "end_process": False,
}
"""Calls of vLLM's workers -> whether they take the folder of a version."""
BODY_BYTES = 4 << 20
CONNECT_S = 5.0
log = logging.getLogger("heed.sidecar")


def create_sidecar(socket: Path, policies: Path, token: str) -> web.Application:
    """The proxy in front of vLLM on `socket`; `policies` is the folder of this host's versions."""
    app = web.Application(client_max_size=BODY_BYTES)
    engine: list[aiohttp.ClientSession] = []

    async def session(_: web.Application) -> Any:
        connector = aiohttp.UnixConnector(path=str(socket), limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession("http://engine", connector=connector, timeout=timeout) as opened:
            engine.append(opened)
            yield

    async def handle(request: web.Request) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            return _refusal(401, "send the engine token as `Authorization: Bearer ...`")
        if (request.method, request.path) not in ALLOWED:
            return _refusal(404, "there is no such call")
        body = await request.read()
        if request.path == "/collective_rpc":
            try:
                body = await asyncio.to_thread(worker_call, body, policies)
            except (ValueError, ArtifactError) as error:
                return _refusal(400, str(error))
        return await _pass_on(request, engine[0], body)

    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _pass_on(request: web.Request, engine: aiohttp.ClientSession, body: bytes) -> web.StreamResponse:
    """The engine's answer piece by piece. The caller leaving ends it in the engine."""
    target = PAUSE if request.path == "/pause" else request.path
    headers, response = {"Content-Type": "application/json"}, web.StreamResponse()
    try:
        async with engine.request(request.method, target, data=body or None, headers=headers) as said:
            response.set_status(said.status)
            response.headers["Content-Type"] = said.headers.get("Content-Type", "application/json")
            await response.prepare(request)
            async for piece in said.content.iter_any():
                await response.write(piece)
    except (aiohttp.ClientError, OSError):
        if not response.prepared:
            return _refusal(502, "the engine does not answer")
        if request.transport is not None:  # the engine went away: nobody may take this for the end
            request.transport.abort()
    return response


def worker_call(body: bytes, policies: Path) -> bytes:
    """The same call with nothing in it but what is allowed. Raises ValueError, ArtifactError."""
    call = json.loads(body)
    method = call.get("method") if isinstance(call, dict) else None
    if method not in METHODS:
        raise ValueError("method: there is no such call")
    if not METHODS[method]:
        return json.dumps({"method": method}).encode()
    given = call.get("kwargs")
    wanted = given.get("weights_path") if isinstance(given, dict) else None
    if not isinstance(wanted, str):
        raise ValueError("kwargs.weights_path: name the version's folder")
    folder = policies / Path(wanted).name
    arguments: dict[str, Any] = {"weights_path": str(folder)}
    if method == "reload_weights":
        verify(folder)
    else:
        arguments["fresh"] = given.get("fresh") is True
    return json.dumps({"method": method, "kwargs": arguments}).encode()


def _refusal(status: int, detail: str) -> web.Response:
    return web.json_response({"error": {"message": detail}}, status=status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--socket", required=True, type=Path, help="Unix socket of vLLM")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090, help="port to listen on")
    parser.add_argument("--certificate", type=Path, help="TLS certificate (PEM); without it, plain HTTP")
    parser.add_argument("--key", type=Path, help="TLS private key (PEM)")
    arguments = parser.parse_args()
    try:
        settings = ServerSettings()
    except ValueError as error:
        raise SystemExit(f"heed: {error}") from None
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    logging.basicConfig(level=logging.INFO)
    web.run_app(
        create_sidecar(arguments.socket, settings.data / "policies", engine_token(settings)),
        host=arguments.host,
        port=arguments.port,
        ssl_context=tls,
        handler_cancellation=True,
        access_log=None,
    )


if __name__ == "__main__":
    main()
