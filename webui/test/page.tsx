/** The whole page against a scripted server, for tests of what a person does. */
import { QueryClientProvider } from "@tanstack/react-query";
import { act, render } from "@testing-library/react";
import axe from "axe-core";
import { afterEach, beforeEach, expect, vi } from "vitest";
import { App } from "../src/app";
import { resetKeys } from "../src/keys";
import { newClient } from "../src/queries";
import { setLanguage } from "../src/texts";
import { setTheme } from "../src/theme";
import { FakeEventSource, ScriptedServer } from "./server";

/** A fresh server before each test, at fetch and EventSource; everything kept in the browser is cleared after. */
export function useServer(): { current: ScriptedServer } {
  const held = { current: new ScriptedServer() };
  beforeEach(() => {
    FakeEventSource.all = [];
    held.current = new ScriptedServer();
    vi.stubGlobal("EventSource", FakeEventSource);
    vi.stubGlobal("fetch", held.current.fetch);
  });
  afterEach(async () => {
    vi.unstubAllGlobals();
    localStorage.clear();
    sessionStorage.clear();
    resetKeys();
    setTheme("light");
    await setLanguage("en");
  });
  return held;
}

export function open(path: string) {
  history.replaceState(null, "", path);
  return render(
    <QueryClientProvider client={newClient()}>
      <App />
    </QueryClientProvider>,
  );
}

/** happy-dom lays nothing out, so colours are checked in the browser (dev/shots.mjs), all else here. */
export async function isAccessible() {
  for (const theme of ["light", "dark"] as const) {
    act(() => setTheme(theme));
    const { violations } = await axe.run(document.body, { rules: { "color-contrast": { enabled: false } } });
    expect(violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html)}`)).toEqual([]);
  }
}
