/** Tells this person's other tabs that conversations have changed, and hears it from them. */
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("heed.conversations");

export const tellTabs = (): void => channel?.postMessage("changed");

/** Calls back when another tab has changed something. Returns how to stop. */
export function onOtherTab(listener: () => void): () => void {
  channel?.addEventListener("message", listener);
  return () => channel?.removeEventListener("message", listener);
}
