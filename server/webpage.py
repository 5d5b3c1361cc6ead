"""The built web page: hashed files for ever, everything else the one page that routes by itself."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Heed: the web page is not built</title>
<h1>The web page is not built yet</h1>
<p>Heed's server is running, but there is no built page in <code>webui/dist</code>.</p>
<p>Run <code>make setup</code> (or <code>npm ci &amp;&amp; npm run build</code> in <code>webui/</code>), then
reload. The server need not be restarted.</p>
<p>The API works without the page: see <a href="/api/openapi.json">/api/openapi.json</a>, or point any OpenAI
client at <code>/v1</code>.</p>
</html>
"""
API_PREFIXES = ("api", "v1")


class WebPage(StaticFiles):
    """Serves `folder`. Unknown paths get index.html, unknown paths of the API a 404."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._folder = folder
        self._index = folder / "index.html"

    async def check_config(self) -> None:
        """The folder may be built while the server runs: each request looks for itself."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path.split("/", 1)[0] in API_PREFIXES:
            raise HTTPException(404)
        if not self._index.is_file():
            return HTMLResponse(NOT_BUILT)
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            # A missing file is missing; a path without a suffix is one of the page's own.
            if error.status_code != 404 or Path(path).suffix:
                raise
            response = FileResponse(self._index)
        hashed = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
        return response
