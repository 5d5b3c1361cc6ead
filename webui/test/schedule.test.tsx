/** The schedule on the dashboard: which rules hold, whose they are, and changing them. */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import type { Schedule } from "../src/views/console/calls";
import { isAccessible, open, serverOfEachTest } from "./page";
import type { ScriptedServer } from "./server";

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
  server.admin();
});

const RULES = "/api/v1/schedule/rules";
const plain = () => server.reply("GET /api/v1/schedule") as Schedule;

/** As after somebody changed two rules, before a tick has seen it. */
function changed(): Schedule {
  const now = plain();
  const by = { by: "mira", at: "2026-01-01T10:00:00Z" };
  const rules = { ...now.rules, min_votes: 20, calendar: null };
  return { ...now, rules, changed: { min_votes: by, calendar: by }, outlook: null };
}

const field = (dialog: HTMLElement, name: string) => within(dialog).getByLabelText<HTMLInputElement>(name);
async function openRules() {
  await userEvent.click(await screen.findByRole("button", { name: "Change the rules" }));
  return screen.findByRole("dialog", { name: "Change the rules" });
}

describe("the start rules", () => {
  it("sends what was changed and nothing else, and says whose it is", async () => {
    const after = changed();
    server.on(`PATCH ${RULES}`, () => after);
    open("/admin");
    const dialog = await openRules();
    expect(field(dialog, "Calendar (five cron fields)").value).toBe("0 2 * * *");
    const save = within(dialog).getByRole<HTMLButtonElement>("button", { name: "Save" });
    expect(save.disabled).toBe(true);
    await isAccessible();
    await userEvent.clear(field(dialog, "New votes for a side"));
    await userEvent.type(field(dialog, "New votes for a side"), "20");
    await userEvent.clear(field(dialog, "Calendar (five cron fields)"));
    await userEvent.type(field(dialog, "Quiet hours"), "; 20:00-22:00");
    await userEvent.click(save);
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.bodies(`PATCH ${RULES}`)).toEqual([
      { min_votes: 20, calendar: null, quiet_hours: ["08:00-18:00", "20:00-22:00"] },
    ]);
    await screen.findByText("After 20 votes for a side; 13 wait.");
    const line = screen.getByText(/^New votes for a side: 20 instead of 50\./);
    expect(line.textContent).toContain("mira, ");
    screen.getByText(/^Calendar \(five cron fields\): off instead of 0 2 \* \* \*\./);
    screen.getByText("The workers have not looked at these rules yet.");
    await isAccessible();
  });

  it("is refused at the field", async () => {
    server.on(`PATCH ${RULES}`, () => [422, "quiet_hours: write it as `22:00-06:00`", "quiet_hours"]);
    open("/admin");
    const dialog = await openRules();
    await userEvent.type(field(dialog, "Quiet hours"), "{Backspace}{Enter}");
    expect((await within(dialog).findByRole("alert")).textContent).toBe("write it as `22:00-06:00`");
    expect(field(dialog, "Quiet hours").getAttribute("aria-invalid")).toBe("true");
    await isAccessible();
  });

  it("goes back to the file at once", async () => {
    const before = plain();
    const after = changed();
    server.on("GET /api/v1/schedule", () => after);
    server.on(`DELETE ${RULES}`, () => before);
    open("/admin");
    const dialog = await openRules();
    await userEvent.click(within(dialog).getByRole("button", { name: "All as in the file" }));
    await screen.findByText("After 50 votes for a side; 13 wait.");
    expect(screen.queryByText("Otherwise than the file")).toBeNull();
  });

  it("is only shown to who may not change it", async () => {
    const me = server.me();
    server.on("GET /api/v1/me", () => ({ ...me, may: me.may.filter((one) => one !== "train") }));
    const after = changed();
    server.on("GET /api/v1/schedule", () => after);
    open("/admin");
    await screen.findByText("Otherwise than the file");
    expect(screen.queryByRole("button", { name: "Change the rules" })).toBeNull();
  });
});
