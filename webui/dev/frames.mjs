/**
 * How smoothly two long answers stream: the time between frames, and the main thread's own time for each.
 * `npm run build && node dev/frames.mjs`. Development only.
 *
 * The time between frames is what the eye sees, and other work on the machine is in it. The main thread's time
 * is CPU time, from Chromium's trace: what the page needs of each 16.7 ms, and what it was spent on, in all frames
 * and in the twentieth that took longest.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const MOCK = fileURLToPath(new URL("mock-api.mjs", import.meta.url));
const PORT = process.env.MOCK_PORT ?? "18190";
const FRAME_MS = 1000 / 60;
const CATEGORIES = ["disabled-by-default-devtools.timeline", "devtools.timeline"];

const quantile = (values, share) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
};
/** What the main thread did in each span [from, to): name of the work -> its own milliseconds of CPU, without what it called. */
function ownTimes(events, spans) {
  const own = new Map();
  const calls = [];
  const close = (one) => {
    const span = spans.find(([from, to]) => one.ts >= from && one.ts < to);
    if (span) own.set(one.name, (own.get(one.name) ?? 0) + one.left / 1000);
  };
  for (const one of [...events].sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
    while (calls.length && calls.at(-1).end <= one.ts) close(calls.pop());
    const took = one.tdur ?? one.dur;
    if (calls.length) calls.at(-1).left -= took;
    calls.push({ name: one.name, ts: one.ts, end: one.ts + one.dur, left: took });
  }
  for (const one of calls) close(one);
  return [...own].sort((a, b) => b[1] - a[1]);
}
const shares = (found, frames) =>
  found
    .slice(0, 8)
    .map(([name, ms]) => `${name} ${(ms / frames).toFixed(2)}`)
    .join(", ");
const shown = (values) =>
  `median ${quantile(values, 0.5).toFixed(1)} ms, p95 ${quantile(values, 0.95).toFixed(1)} ms, longest ${Math.max(...values).toFixed(1)} ms`;

/** Asks, and tells of the frames until both answers are complete. */
async function measure(page, text) {
  await page.getByLabel("Compare answers").selectOption("duel");
  await page.getByRole("textbox", { name: "Your message" }).fill(text);
  await page.keyboard.press("Enter");
  await page.locator('[data-testid="answer-1"] .prose').waitFor();
  const session = await page.context().newCDPSession(page);
  const events = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  await session.send("Tracing.start", {
    transferMode: "ReportEvents",
    traceConfig: { includedCategories: CATEGORIES },
  });
  const gaps = await page.evaluate(async () => {
    const times = [];
    const ended = () => document.querySelector('[data-testid="vote-bar"]')?.dataset.ready === "true";
    let last = performance.now();
    while (!ended()) {
      const at = await new Promise(requestAnimationFrame);
      times.push(at - last);
      last = at;
    }
    return times.slice(1);
  });
  const done = new Promise((resolve) => session.once("Tracing.tracingComplete", resolve));
  await session.send("Tracing.end");
  await done;

  const names = new Map();
  for (const one of events) if (one.name === "thread_name") names.set(`${one.pid}:${one.tid}`, one.args.name);
  const main = events.filter((one) => names.get(`${one.pid}:${one.tid}`) === "CrRendererMain");
  const complete = main.filter((one) => one.ph === "X");
  const tasks = complete.filter((one) => one.name === "RunTask");
  const fired = main.filter((one) => one.name === "FireAnimationFrame").map((one) => one.ts);
  // Two callbacks of one frame run in one task.
  const starts = tasks
    .filter(({ ts, dur }) => fired.some((at) => at >= ts && at < ts + dur))
    .map(({ ts }) => ts);
  const work = starts.slice(1).map((end, index) => {
    const inFrame = tasks.filter((one) => one.ts < end && one.ts >= starts[index]);
    return inFrame.reduce((sum, one) => sum + (one.tdur ?? one.dur) / 1000, 0);
  });
  const letters = await page.locator('[data-testid="answer-1"] .prose').innerText();
  console.log(`\n${text}: answers of ${letters.length} characters, ${gaps.length} frames`);
  console.log(`between frames            ${shown(gaps)}`);
  const late = gaps.filter((gap) => gap > 1.5 * FRAME_MS).length;
  console.log(`frames that came late     ${late} (${((100 * late) / gaps.length).toFixed(1)} %)`);
  console.log(`main thread for a frame   ${shown(work)}, of ${FRAME_MS.toFixed(1)} ms`);
  const spans = starts.slice(1).map((end, index) => [starts[index], end]);
  const long = quantile(work, 0.95);
  const longest = spans.filter((_, index) => work[index] >= long);
  console.log(`  in a frame, ms          ${shares(ownTimes(complete, spans), spans.length)}`);
  console.log(`  in a long one, ms       ${shares(ownTimes(complete, longest), longest.length)}`);
}

const mock = spawn(process.execPath, [MOCK, PORT], { env: { ...process.env, MOCK_SPEED: "2" } });
await new Promise((ready) => mock.stdout.once("data", ready));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const base = `http://127.0.0.1:${PORT}`;
  await page.goto(`${base}/setup#token=mock`);
  await page.getByLabel("Name").fill("Ada");
  await page.getByLabel("Password").fill("a long enough password");
  await page.getByRole("button", { name: "Create the admin account" }).click();
  await page.getByRole("textbox", { name: "Your message" }).waitFor();
  await page.goto(base);
  await page.getByRole("textbox", { name: "Your message" }).waitFor();
  const painted = await page.waitForFunction(
    () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
  );
  const paint = await painted.jsonValue();
  console.log(`first paint of the chat   ${paint.toFixed(0)} ms`);

  for (const text of ["Say something very long", "A long list, please", "A long program, please"]) {
    await page.goto(base);
    await measure(page, text);
  }
} finally {
  await browser.close();
  mock.kill();
}
