/**
 * A stand-in for the server while the page is developed: it speaks the same HTTP and SSE from memory, with a
 * model that recites. It is no part of the product. `node dev/mock-api.mjs [port]`; MOCK_SPEED=5 hurries it,
 * MOCK_EMPTY=1 starts without a past. The set-up link is printed.
 */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { ADMIN_ROUTES } from "./mock-admin.mjs";
import { CHAT_ROUTES } from "./mock-chat.mjs";
import { adminAccount, consoleRoutes } from "./mock-console.mjs";
import { EXPLORER_ROUTES } from "./mock-explorer.mjs";
import { OPINION_ROUTES } from "./mock-opinions.mjs";
import { QUEUE_ROUTES } from "./mock-queue.mjs";
import { db, Refusal, sendEvent, tell } from "./mock-state.mjs";
import { VOTE_ROUTES } from "./mock-votes.mjs";

const PORT = Number(process.argv[2] ?? 8080);
const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

const ACCOUNT_ROUTES = [
  ["GET", /^setup$/, () => [200, { needed: db.account === null }]],
  [
    "POST",
    /^setup$/,
    (_, body) => {
      if (db.account || body.token !== db.token)
        throw new Refusal(401, "wrong_credentials", "the link was used already");
      if (body.password.length < 12) throw new Refusal(422, "password_too_short", "at least 12 characters");
      db.account = adminAccount(body.name);
      db.signedIn = true;
      return [201, db.account];
    },
  ],
  [
    "POST",
    /^login$/,
    (_, body) => {
      if (db.account?.name !== body.name || body.password === "wrong password")
        throw new Refusal(401, "wrong_credentials", "no such account");
      db.signedIn = true;
      return [200, db.account];
    },
  ],
  [
    "POST",
    /^logout$/,
    () => {
      db.signedIn = false;
      return [204];
    },
  ],
  ["GET", /^me$/, () => [200, db.account]],
];

const MOCK_ROUTES = [
  // Switches of the mock itself, for trying what happens when parts are away.
  [
    "POST",
    /^mock\/store$/,
    (_, body) => {
      db.down = body.down;
      return [204];
    },
  ],
  [
    "POST",
    /^mock\/cut$/,
    () => {
      for (const { watchers } of db.streams.values()) for (const response of watchers) response.destroy();
      for (const response of db.watchers) response.destroy();
      return [204];
    },
  ],
];
const ROUTES = [
  ...consoleRoutes({ db, tell, Refusal }),
  ...ACCOUNT_ROUTES,
  ...CHAT_ROUTES,
  ...OPINION_ROUTES,
  ...VOTE_ROUTES,
  ...QUEUE_ROUTES,
  ...EXPLORER_ROUTES,
  ...ADMIN_ROUTES,
  ...MOCK_ROUTES,
];
const OPEN = /^(setup|login$|mock|invites\/look)/;

function watch(request, response, url) {
  const after = request.headers["last-event-id"] ?? url.searchParams.get("after");
  const path = url.pathname.slice("/api/v1/".length);
  const stream =
    path === "events"
      ? { events: after ? db.feed : [], watchers: db.watchers }
      : db.streams.get(path.split("/")[1]);
  if (!stream) throw new Refusal(404, "not_found", "there is no such stream");
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform" });
  response.write(": hello\n\n");
  const index = after ? stream.events.findIndex((one) => one.id === after) + 1 : 0;
  for (const entry of stream.events.slice(index)) sendEvent(response, entry);
  if (stream.ended) return response.end();
  stream.watchers.add(response);
  response.on("close", () => stream.watchers.delete(response));
}

function serveFile(pathname, response) {
  const wanted = join(DIST, normalize(pathname));
  const file =
    wanted.startsWith(DIST) && existsSync(wanted) && statSync(wanted).isFile()
      ? wanted
      : join(DIST, "index.html");
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": CSP,
  });
  createReadStream(file).pipe(response);
}

async function answer(request, response) {
  const url = new URL(request.url, "http://mock");
  if (!url.pathname.startsWith("/api/v1/")) return serveFile(url.pathname, response);
  const path = url.pathname.slice("/api/v1/".length);
  let text = "";
  for await (const chunk of request) text += chunk;
  try {
    if (!OPEN.test(path) && !db.signedIn) throw new Refusal(401, "signed_out", "sign in first");
    if (/^(events|streams\/.+)$/.test(path)) return watch(request, response, url);
    for (const [method, pattern, handle] of ROUTES) {
      const match = request.method === method && pattern.exec(path);
      if (!match) continue;
      const [code, body] = handle(
        match.slice(1),
        path === "imports" ? text : text ? JSON.parse(text) : {},
        request,
      );
      response.writeHead(code, { "Content-Type": "application/json" });
      return response.end(body === undefined ? "" : JSON.stringify(body));
    }
    throw new Refusal(404, "not_found", "there is no such route");
  } catch (error) {
    const { status = 500, kind = "internal", message, field = null } = error;
    if (status === 500) console.error(error);
    response.writeHead(status, { "Content-Type": "application/problem+json" });
    response.end(
      JSON.stringify({
        type: `urn:heed:${kind}`,
        title: kind,
        status,
        detail: message,
        field,
        remedy: null,
      }),
    );
  }
}

createServer((request, response) => void answer(request, response)).listen(PORT, "127.0.0.1", () =>
  console.log(`mock server: http://127.0.0.1:${PORT}/setup#token=${db.token}`),
);
