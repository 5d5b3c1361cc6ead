/** Holds the built page to its sizes: what a first visit to the chat loads, each page behind it, every chunk. */
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const DIST = new URL("dist/", import.meta.url);
const BUDGET_KB = { chat: 110, answers: 40, page: 60, css: 15, chunk: 160 };

const files = readdirSync(new URL("assets/", DIST));
const sizeKb = (name) => gzipSync(readFileSync(new URL(`assets/${name}`, DIST)), { level: 9 }).length / 1000;
const html = readFileSync(new URL("index.html", DIST), "utf8");
const entry = files.filter((name) => name.endsWith(".js") && html.includes(name));
const answers = files.filter((name) => name.endsWith(".js") && /^(spoken|blocks)-/.test(name));
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", DIST), "utf8"));

/** The files that a chunk brings beside the entry: its own and what that imports at once. */
function loadedBy(key, found = new Set()) {
  const { file, imports = [] } = manifest[key];
  const name = file.replace("assets/", "");
  if (entry.includes(name) || found.has(name)) return found;
  found.add(name);
  for (const next of imports) loadedBy(next, found);
  return found;
}
const above = loadedBy("src/views/console/top.tsx");
const pages = Object.keys(manifest).filter((key) => /^src\/views\/\w+\/page\.tsx$/.test(key));

const sum = (names) => [...names].reduce((total, name) => total + sizeKb(name), 0);
const measured = [
  ["chat entry", sum(entry), BUDGET_KB.chat],
  ["answers", sum(answers), BUDGET_KB.answers],
  ...pages.map((key) => [
    `page ${key.split("/")[2]}`,
    sum(new Set([...above, ...loadedBy(key)])),
    BUDGET_KB.page,
  ]),
  ["css", sum(files.filter((name) => name.endsWith(".css") && html.includes(name))), BUDGET_KB.css],
  ...files.filter((name) => name.endsWith(".js")).map((name) => [name, sizeKb(name), BUDGET_KB.chunk]),
];
let failed = entry.length === 0 || answers.length === 0 || !pages.includes("src/views/admin/page.tsx");
if (failed) console.error("budget: the entry or the admin page was not found in dist/");
for (const [name, size, most] of measured) {
  if (size > most) failed = true;
  console.log(`${size > most ? "OVER" : "ok  "} ${name}: ${size.toFixed(1)} of ${most} kB gzip`);
}
if (/<script(?![^>]*src=)|<style|style="/.test(html)) {
  failed = true;
  console.error("budget: index.html holds an inline script or style, which the server's CSP forbids");
}
process.exit(failed ? 1 : 0);
