/** Holds the built page to its sizes: what a first visit to the chat loads, the admin page, every chunk. */
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const DIST = new URL("dist/", import.meta.url);
const BUDGET_KB = { chat: 110, answers: 40, admin: 60, css: 15, chunk: 160 };

const files = readdirSync(new URL("assets/", DIST));
const sizeKb = (name) => gzipSync(readFileSync(new URL(`assets/${name}`, DIST)), { level: 9 }).length / 1000;
const html = readFileSync(new URL("index.html", DIST), "utf8");
const entry = files.filter((name) => name.endsWith(".js") && html.includes(name));
const answers = files.filter((name) => name.endsWith(".js") && name.startsWith("spoken-"));
const admin = files.filter((name) => name.endsWith(".js") && name.startsWith("page-"));

const sum = (names) => names.reduce((total, name) => total + sizeKb(name), 0);
const measured = [
  ["chat entry", sum(entry), BUDGET_KB.chat],
  ["answers", sum(answers), BUDGET_KB.answers],
  ["admin chunk", sum(admin), BUDGET_KB.admin],
  ["css", sum(files.filter((name) => name.endsWith(".css") && html.includes(name))), BUDGET_KB.css],
  ...files.filter((name) => name.endsWith(".js")).map((name) => [name, sizeKb(name), BUDGET_KB.chunk]),
];
let failed = [entry, answers, admin].some((names) => names.length === 0);
if (failed) console.error("budget: the entry, the answers' or the admin chunk was not found in dist/");
for (const [name, size, most] of measured) {
  if (size > most) failed = true;
  console.log(`${size > most ? "OVER" : "ok  "} ${name}: ${size.toFixed(1)} of ${most} kB gzip`);
}
if (/<script(?![^>]*src=)|<style|style="/.test(html)) {
  failed = true;
  console.error("budget: index.html holds an inline script or style, which the server's CSP forbids");
}
process.exit(failed ? 1 : 0);
