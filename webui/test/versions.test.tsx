/** The page of versions against a scripted server: lineage, rollback, canaries. */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import type { Policies, Status } from "../src/api";
import { isAccessible, open, serverOfEachTest } from "./page";
import type { ScriptedServer } from "./server";

const AT = "2026-01-01T00:00:00Z";

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
  server.admin(); // the strip above every page
});

describe("versions", () => {
  it("walks the lineage by keys, opens a version, marks two to compare", async () => {
    const { items, ...rest } = server.reply("GET /api/v1/policies") as Policies;
    server.on("GET /api/v1/policies", () => ({
      ...rest,
      items: items.map((one) => ({ ...one, metrics: { kl: one.number * 4 } })),
    }));
    open("/versions");
    const live = await screen.findByTestId("version-2");
    live.focus();
    await userEvent.keyboard("{ArrowLeft}");
    expect(document.activeElement).toBe(screen.getByTestId("version-1"));
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    expect(document.activeElement).toBe(screen.getByTestId("version-3"));
    await userEvent.keyboard("{Enter}");
    await within(screen.getByTestId("drawer")).findByText("answers are twice as long");
    await userEvent.click(within(screen.getByTestId("drawer")).getByText(/^Files/));
    const links = await within(screen.getByTestId("drawer")).findAllByRole("link");
    expect(links.map((link) => link.getAttribute("href"))).toContain("/api/v1/policies/3/download");
    screen.getByTestId("version-3").focus();
    const said = { 2: "It is blue.", 3: "It is deep blue." };
    for (const [number, answer] of Object.entries(said))
      server.on(`GET /api/v1/policies/${number}/samples`, () => ({
        items: [{ prompt: "The sea?", answer }],
      }));
    await userEvent.keyboard("c{ArrowLeft}c");
    await screen.findByRole("heading", { name: "v3 beside v2" });
    const compared = screen.getByRole("group", { name: "v3 beside v2" });
    const heads = within(compared).getAllByRole("columnheader");
    expect(heads.map((one) => one.textContent)).toEqual(["Measure", "v3", "v2", "v2 minus v3"]);
    expect(within(compared).getByRole("row", { name: /12 8 -4$/ })).toBeTruthy();
    const samples = await screen.findByTestId("samples");
    expect(samples.textContent).toContain("The sea?v3It is deep blue.v2It is blue.");
    await isAccessible();
    await userEvent.click(screen.getByText("What v2 and v3 say to the same prompts"));
    await waitFor(() => expect(screen.getAllByTestId("samples")).toHaveLength(2));
    expect(document.querySelector("ins")?.textContent).toContain("deep");
  });

  it("rolls back only with a reason, after a preflight, and tells the steps", async () => {
    server.on("POST /api/v1/policies/rollback", () => ({
      number: 1,
      previous: 2,
      actor: "acc_1",
      reason: "worse",
      at: AT,
    }));
    open("/versions");
    await userEvent.click(
      (await screen.findAllByRole("button", { name: "Roll back to v1" }))[0] as HTMLElement,
    );
    const dialog = await screen.findByRole("dialog", { name: "Roll back to v1?" });
    await within(dialog).findByText("3 answers finish on v2");
    const button = within(dialog).getByRole<HTMLButtonElement>("button", { name: "Roll back to v1" });
    expect(button.disabled).toBe(true);
    await userEvent.type(within(dialog).getByLabelText(/^Reason/), "worse");
    await isAccessible();
    const initial = server.reply("GET /api/v1/status") as Record<string, unknown>;
    server.on("GET live", () => ({
      ...initial,
      active: { number: 1, since: AT },
      serving: { host: 1 },
      engines: [
        { name: "engine-1", state: "ready", version: 1, in_flight: 0, address: "", error: null, seen_at: AT },
      ],
    }));
    const policies = server.reply("GET /api/v1/policies") as Policies;
    server.on("GET /api/v1/policies", () => ({ ...policies, active: 1, previous: null }));
    server.on("GET /api/v1/status", () => ({ ...(server.reply("GET live") as Status), previous: null }));
    await userEvent.click(button);
    await screen.findByRole("dialog", { name: "v1 is live" });
    await waitFor(() => expect(screen.queryByRole("button", { name: "Roll back to v1" })).toBeNull());
    screen.getByRole("dialog", { name: "v1 is live" });
    expect(server.bodies("POST /api/v1/policies/rollback")).toEqual([{ reason: "worse" }]);
  });

  it("does not offer to roll back to files that are broken", async () => {
    server.on("GET /api/v1/policies/1/preflight", () => ({
      number: 1, state: "retired", ok: false, error: "model.safetensors differs from the manifest", bytes: 0, checked_s: 0.1, warm_on: [], ready_engines: 1,
      in_flight: 0, leaves: 2, canary: null,
    })); // biome-ignore format: a fixture
    open("/versions");
    await userEvent.click(
      (await screen.findAllByRole("button", { name: "Roll back to v1" }))[0] as HTMLElement,
    );
    const dialog = await screen.findByRole("dialog");
    await within(dialog).findByText("model.safetensors differs from the manifest");
    await userEvent.type(within(dialog).getByLabelText(/^Reason/), "worse");
    expect(within(dialog).getByRole<HTMLButtonElement>("button", { name: "Roll back to v1" }).disabled).toBe(
      true,
    );
  });

  it("shows what the guards of a canary see, and the next step of its ramp", async () => {
    const policies = server.reply("GET /api/v1/policies") as Record<string, unknown>;
    const canary = {
      number: 3, share: 0.05, started_at: AT, actor: "heed", reason: "passed", before: "candidate", ramp: [0.25], next_at: 20,
    }; // biome-ignore format: a fixture
    server.on("GET /api/v1/policies", () => ({ ...policies, canary }));
    const guard = {
      name: "failed",
      allowed: 2,
      canary_bad: 3,
      canary_n: 12,
      active_bad: 1,
      active_n: 40,
      e_value: 4.2,
      limit: 100,
    };
    server.on("GET /api/v1/statistics", () => ({
      pairs: [], canary: { number: 3, against: 2, state: "undecided", e_value: 1, wins: 0, losses: 0, n: 0, needs: 100, guards: [guard] },
    })); // biome-ignore format: a fixture
    open("/versions");
    const row = await screen.findByRole("row", { name: /Failed answers/ });
    expect(row.textContent).toBe("Failed answers25% (3/12)2.5% (1/40)4.2 of 100 for more than 2 × the odds");
    await screen.findByText(/Next: 25%, from 20 votes on\./);
    await isAccessible();
  });

  it("promotes by a share, asking for the password when it is stale", async () => {
    let stale = true;
    server.on("POST /api/v1/policies/1/promote", () =>
      stale ? [403, "confirm_password"] : { active: 2, canary: null },
    );
    server.on("POST /api/v1/login/confirm", () => {
      stale = false;
      return {};
    });
    open("/versions");
    await userEvent.click(await screen.findByTestId("version-1"));
    await userEvent.click(
      await within(screen.getByTestId("drawer")).findByRole("button", { name: "Promote" }),
    );
    const dialog = await screen.findByRole("dialog", { name: "Promote v1?" });
    await userEvent.click(within(dialog).getByRole("radio", { name: "25%" }));
    await userEvent.click(within(dialog).getByRole("checkbox", { name: /Go on by itself to 50%, 100%/ }));
    await userEvent.type(within(dialog).getByLabelText("Reason"), "let us see");
    await userEvent.click(within(dialog).getByRole("button", { name: "Start the canary" }));
    const asked = await screen.findByRole("dialog", { name: "Type your password again" });
    await userEvent.type(within(asked).getByLabelText("Password"), "a long enough password");
    await userEvent.click(within(asked).getByRole("button", { name: "Go on" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.bodies("POST /api/v1/policies/1/promote")).toEqual([
      { share: 0.25, reason: "let us see", ramp: [0.5, 1] },
      { share: 0.25, reason: "let us see", ramp: [0.5, 1] },
    ]);
  });
});
