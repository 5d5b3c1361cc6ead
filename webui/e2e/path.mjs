/**
 * One person's path through the page, in a real browser: the set-up link, a duel, the vote, undo, Train now, the
 * swap seen live, roll back, explorer, export. All of it by keyboard, and the focus must be seen at every stop; at
 * the end some of it by mouse. Prints as JSON what was seen; exit status 1 when something was missing.
 *
 * BASE_URL=http://127.0.0.1:8080 SETUP_LINK=http://127.0.0.1:8080/setup#token=... node e2e/path.mjs
 * Optional: CHROMIUM (its path), ANSWER_TIMEOUT_S (120), SCREENS (a folder to keep a picture of each page in).
 */
import { chromium } from "playwright-core";
import { keyboardOf } from "./keyboard.mjs";

const { BASE_URL, SETUP_LINK, SCREENS } = process.env;
if (!BASE_URL || !SETUP_LINK) throw new Error("set BASE_URL and SETUP_LINK");
const PATIENCE_MS = 1000 * Number(process.env.ANSWER_TIMEOUT_S ?? 120);
const NAME = "admin";
const PASSWORD = "a long enough password";

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, locale: "en-GB" });
const seen = { steps: [], errors: [], otherHosts: [], leaks: [], unseen: [] };
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("console", (message) => {
  // The first look for a session answers 401: that is how the page learns that nobody is signed in.
  if (message.type() === "error" && !/status of 401/.test(message.text())) seen.errors.push(message.text());
});
page.on("request", (request) => {
  const host = new URL(request.url()).host;
  if (host && host !== new URL(BASE_URL).host) seen.otherHosts.push(host);
});

async function step(name, work) {
  const started = Date.now();
  const found = await work();
  if (SCREENS) await page.screenshot({ path: `${SCREENS}/${seen.steps.length + 1}-${name}.png` });
  seen.steps.push({ name, ms: Date.now() - started, ...found });
}

const keyboard = await keyboardOf(page, seen.unseen);
const { press, type, tabTo, command, look } = keyboard;
const button = (name) => page.getByRole("button", { name, exact: true });
const dialogButton = (name) => page.getByRole("dialog").getByRole("button", { name, exact: true });
const composer = page.getByRole("textbox", { name: "Your message" });
const openVote = page.locator('[data-testid="vote-bar"][data-open="true"]');
/** Both answers are complete, and the focus went to the vote by itself. */
const focusedVote = page.locator('[data-testid="vote-bar"][data-open="true"]:focus');
const verdict = page.getByTestId("verdict").first();
const state = page.getByRole("region", { name: "State" });

let failure = null;
try {
  await step("sign-in-by-link", async () => {
    await page.goto(SETUP_LINK);
    await tabTo(page.getByLabel("Name"));
    await type(NAME);
    await tabTo(page.getByLabel("Password"));
    await type(PASSWORD);
    await press("Enter");
    await composer.waitFor();
    return { url: page.url() };
  });
  await step("duel", async () => {
    await tabTo(page.getByLabel("Compare answers"));
    await press("ArrowDown");
    await tabTo(composer, "Shift+Tab");
    await type("Why is the sky blue?");
    await press("Enter");
    await focusedVote.waitFor({ timeout: PATIENCE_MS });
    await look();
    const text = (side) => page.getByRole("article", { name: `Answer ${side}` }).innerText();
    const answers = [await text(1), await text(2)];
    for (const one of answers) if (/\bv\d+\b/.test(one.split("\n")[0])) seen.leaks.push(one);
    return { answers: answers.map((one) => one.length), url: page.url() };
  });
  await step("vote-by-key", async () => {
    await press("1");
    await page.getByText(/^Counted, 1 /).waitFor();
    await look();
    return { verdict: (await verdict.innerText()).split("\n") };
  });
  await step("undo-and-vote-much-better", async () => {
    await press("Escape"); // out of the composer, where letters are text
    await look();
    await press("z");
    await openVote.waitFor();
    await press("Shift+Digit1");
    await page.getByText(/^Counted, 1 /).waitFor();
    await page.getByText("Much better").waitFor();
    return {};
  });
  await step("second-duel", async () => {
    // One vote judges the reward model and one trains it: a training needs two.
    await type("And why is grass green?");
    await press("Enter");
    await focusedVote.waitFor({ timeout: PATIENCE_MS });
    await press("2");
    await page.getByText(/^Counted, 2 /).waitFor();
    return {};
  });
  await step("reload", async () => {
    await page.reload();
    await page.getByText("Your choice").first().waitFor();
    return { verdict: (await verdict.innerText()).split("\n") };
  });
  await step("search", async () => {
    await press("Escape");
    await press("/");
    await page.getByRole("combobox", { name: "Search and commands" }).waitFor();
    await type("grass green");
    await page.getByRole("option").filter({ hasText: "grass green" }).waitFor();
    await press("Escape");
    return {};
  });
  await step("admin", async () => {
    await command("Dashboard");
    await button("Train now").waitFor();
    return { strip: (await state.innerText()).split("\n").filter(Boolean) };
  });
  await step("change-a-start-rule", async () => {
    const tabs = await tabTo(button("Change the rules"));
    await press("Enter");
    const votes = page.getByLabel("New votes for a side");
    await tabTo(votes);
    await press("Control+A");
    await type("5");
    await press("Enter");
    await page.getByText("After 5 votes for a side; 2 wait.").waitFor();
    await page.locator("button:focus", { hasText: "Change the rules" }).waitFor();
    await state.getByText("2 of 5 votes").first().waitFor();
    // Until the workers have looked at the schedule with the new rule.
    await page.getByText("The workers have not looked at these rules yet.").waitFor({ state: "detached" });
    return { tabs };
  });
  await step("train-now", async () => {
    await tabTo(button("Train now"));
    await press("Enter");
    await page.getByRole("dialog").getByText("Settings it would use").waitFor();
    await tabTo(dialogButton("Train now"));
    await press("Enter");
    await button("Cancel training").waitFor();
    const charts = page.locator("[data-testid^=chart-]");
    await page
      .locator("[data-testid^=chart-]:not([data-steps='0'])")
      .first()
      .waitFor({ timeout: PATIENCE_MS });
    return {
      charts: await charts.evaluateAll((all) =>
        Object.fromEntries(all.map((one) => [one.dataset.testid, Number(one.dataset.steps)])),
      ),
      stages: (await page.getByRole("list", { name: "The nine steps of the loop" }).innerText()).split("\n"),
    };
  });
  await step("swap-seen-live", async () => {
    // Nothing is pressed or loaded anew: the page is told.
    await state.getByText("v2", { exact: true }).first().waitFor({ timeout: PATIENCE_MS });
    return { strip: (await state.innerText()).split("\n").filter(Boolean) };
  });
  await step("roll-back", async () => {
    await tabTo(button("Roll back to v1"));
    await press("Enter");
    await tabTo(page.getByRole("dialog").getByLabel(/^Reason/));
    await type("to see that it works");
    await tabTo(dialogButton("Roll back to v1"));
    await press("Enter");
    await page.getByRole("dialog", { name: "v1 is live" }).waitFor({ timeout: PATIENCE_MS });
    await tabTo(dialogButton("Close").last());
    await press("Enter");
    await state.getByText("v1", { exact: true }).first().waitFor();
    return {};
  });
  await step("explorer", async () => {
    await command("Votes");
    await page.getByRole("row", { name: /grass green/ }).waitFor();
    await press("j");
    await press("Enter");
    await page
      .getByRole("region", { name: "Vote", exact: true })
      .getByText("Why is the sky blue?")
      .first()
      .waitFor();
    await press("Escape");
    await press("/");
    await press("Escape");
    return { focusAfterSearch: await look() };
  });
  await step("export", async () => {
    await tabTo(button("Export"));
    await press("Enter");
    await tabTo(page.getByRole("radio", { name: "JSON lines" }));
    await press("ArrowDown");
    await tabTo(page.getByRole("link", { name: "Download" }));
    const [download] = await Promise.all([page.waitForEvent("download"), press("Enter")]);
    return { file: download.suggestedFilename(), failure: await download.failure() };
  });
  if (await keyboard.usedPointer()) seen.errors.push("the path by keyboard used a pointer");
  await step("by-mouse", async () => {
    await page.getByRole("link", { name: "Chat", exact: true }).click();
    await composer.click();
    await composer.fill("What is a rainbow?");
    await button("Send").click();
    await openVote.waitFor({ timeout: PATIENCE_MS });
    await openVote.getByRole("button", { name: "Tie" }).click();
    await verdict.getByText("You said: tie").waitFor();
    await button("Undo").click();
    await openVote.waitFor();
    const menu = page.getByRole("button", { name: /^Actions for/ }).first();
    await menu.click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await button("Undo").click();
    await openVote.waitFor();
    return { pointer: await keyboard.usedPointer() };
  });
} catch (error) {
  failure = String(error).split("\n").slice(0, 3).join(" ");
  if (SCREENS) await page.screenshot({ path: `${SCREENS}/failure.png` });
}
const ok =
  !failure && [seen.errors, seen.otherHosts, seen.leaks, seen.unseen].every((one) => one.length === 0);
console.log(
  JSON.stringify(
    {
      ok,
      failure,
      ...seen,
    },
    null,
    2,
  ),
);
await browser.close();
process.exit(ok ? 0 : 1);
