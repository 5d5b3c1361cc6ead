/** Accounts, invitations and keys against a scripted server. */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import { isAccessible, open, serverOfEachTest } from "./page";
import type { ScriptedServer } from "./server";

const AT = "2026-01-01T00:00:00Z";

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
  server.admin(); // the strip above every page
});

describe("people", () => {
  const person = {
    id: "acc_2",
    name: "Bea",
    role: "annotator",
    created_at: AT,
    disabled_at: null,
    on_trial: true,
    sessions: 1,
    keys: 0,
    votes: 9,
  };
  beforeEach(() => {
    server
      .on("GET /api/v1/accounts", () => ({ items: [person] }))
      .on("GET /api/v1/invites", () => ({ items: [] }));
  });

  it("invites by a link that is shown once", async () => {
    server.on("POST /api/v1/invites", () => ({
      id: "inv_1",
      role: "reviewer",
      token: "SECRET",
      expires_at: AT,
    }));
    open("/people");
    await userEvent.click(await screen.findByRole("button", { name: "Invite somebody" }));
    const dialog = await screen.findByRole("dialog");
    await userEvent.selectOptions(within(dialog).getByLabelText(/^Role/), "reviewer");
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Make a link" }));
    const made = await screen.findByRole("dialog", { name: "The link is ready" });
    expect(within(made).getByLabelText<HTMLInputElement>(/^Link/).value).toBe(
      `${location.origin}/invite#token=SECRET`,
    );
    expect(server.bodies("POST /api/v1/invites")).toEqual([{ role: "reviewer", hours: 72, note: "" }]);
  });

  it("changes a role and disables an account", async () => {
    server.on("PATCH /api/v1/accounts/acc_2", () => person);
    open("/people");
    await userEvent.selectOptions(await screen.findByLabelText("Role of Bea"), "engineer");
    await userEvent.click(screen.getByRole("button", { name: "Disable Bea" }));
    const dialog = await screen.findByRole("dialog", { name: "Disable Bea?" });
    await userEvent.click(within(dialog).getByRole("button", { name: "Disable" }));
    await waitFor(() =>
      expect(server.bodies("PATCH /api/v1/accounts/acc_2")).toEqual([
        { role: "engineer" },
        { disabled: true },
      ]),
    );
  });

  it("admits an account that is on trial", async () => {
    server.on("PATCH /api/v1/accounts/acc_2", () => {
      server.on("GET /api/v1/accounts", () => ({ items: [{ ...person, on_trial: false }] }));
      return { ...person, on_trial: false };
    });
    open("/people");
    const admit = await screen.findByRole("button", { name: "Admit Bea" });
    await isAccessible();
    await userEvent.click(admit);
    await waitFor(() => expect(screen.queryByText("On trial")).toBeNull());
    expect(server.bodies("PATCH /api/v1/accounts/acc_2")).toEqual([{ admitted: true }]);
  });

  it("lets somebody in by the link, and says when it is too late", async () => {
    server.signedIn = false;
    server.on("POST /api/v1/invites/look", () => ({ role: "reviewer", name: null, expires_at: AT }));
    server.on("POST /api/v1/invites/accept", () => {
      server.signedIn = true;
      return server.me();
    });
    const { unmount } = open("/invite#token=SECRET");
    await screen.findByText("You were invited as: Reviewer. Choose a name and a password.");
    await isAccessible();
    await userEvent.type(screen.getByLabelText("Name"), "Bea");
    await userEvent.type(screen.getByLabelText(/^Password/), "a long enough password");
    await userEvent.click(screen.getByRole("button", { name: "Create my account" }));
    await waitFor(() => expect(location.pathname).toBe("/"));
    expect(server.bodies("POST /api/v1/invites/accept")).toEqual([
      { token: "SECRET", name: "Bea", password: "a long enough password" },
    ]);
    unmount();
    server.on("POST /api/v1/invites/look", () => [410, "invite_gone"]);
    open("/invite#token=OLD");
    await screen.findByRole("heading", { name: "This link does not work any more" });
  });
});

describe("settings", () => {
  it("makes a key with few rights unless asked, and shows it once", async () => {
    server.on("GET /api/v1/keys", () => ({ items: [] })).on("GET /api/v1/sessions", () => ({ items: [] }));
    server.on("POST /api/v1/keys", () => ({
      id: "key_1",
      label: "ci",
      scopes: ["chat"],
      ends: "abcd",
      secret: "heed_sk_abcd",
    }));
    open("/settings");
    await userEvent.click(await screen.findByRole("button", { name: "New key" }));
    const dialog = await screen.findByRole("dialog");
    await userEvent.type(within(dialog).getByLabelText("Name"), "ci");
    expect(within(dialog).getByRole<HTMLInputElement>("checkbox", { name: /^admin/ }).checked).toBe(false);
    await userEvent.click(within(dialog).getByRole("checkbox", { name: /^feedback/ }));
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Make the key" }));
    await screen.findByRole("dialog", { name: "The key is ready" });
    expect(server.bodies("POST /api/v1/keys")).toEqual([{ label: "ci", scopes: ["chat"] }]);
  });
});
