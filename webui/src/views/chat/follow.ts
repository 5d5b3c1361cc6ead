/** Whether the thread stays at the end while text comes; kept in this browser. */
import { useSyncExternalStore } from "react";

const STORAGE_KEY = "heed.follow";
const listeners = new Set<() => void>();
let follows = read();

function read(): boolean {
  try {
    return localStorage.getItem(STORAGE_KEY) !== "no";
  } catch {
    return true;
  }
}

export function setFollows(wanted: boolean): void {
  follows = wanted;
  try {
    localStorage.setItem(STORAGE_KEY, wanted ? "yes" : "no");
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useFollows = (): boolean => useSyncExternalStore(subscribe, () => follows);
