/** Votes on their way: kept in this browser until the server has counted them, each under one key. */
import { useSyncExternalStore } from "react";
import { api, Problem, type VoteCounted, type VoteIn } from "./api";
import { waitMs } from "./events";

const STORAGE_KEY = "heed.outbox";

export interface Entry {
  key: string;
  vote: VoteIn;
}

/** What this page knows of a vote: under way, counted, or refused for good. */
export type Sending =
  | { state: "sending"; vote: VoteIn; tries: number }
  | { state: "counted"; vote: VoteIn; counted: VoteCounted }
  | { state: "refused"; vote: VoteIn; problem: Problem };

type Send = (vote: VoteIn, key: string) => Promise<VoteCounted>;
type Later = (work: () => void, ms: number) => void;

export const targetOf = (vote: VoteIn): string => (vote.kind === "duel" ? vote.duel_id : vote.answer_id);

export class Outbox {
  private entries: Entry[];
  private readonly known = new Map<string, Sending>();
  private readonly underWay = new Set<string>();
  private readonly listeners = new Set<() => void>();
  private readonly counters = new Set<(vote: VoteIn, sending: Sending) => void>();

  constructor(
    private readonly storage: Storage,
    private readonly send: Send,
    private readonly later: Later = (work, ms) => setTimeout(work, ms),
    private readonly newKey: () => string = () =>
      Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
        byte.toString(16).padStart(2, "0"),
      ).join(""),
  ) {
    this.entries = this.read();
    for (const { key, vote } of this.entries) {
      this.everOurs.add(key);
      this.known.set(targetOf(vote), { state: "sending", vote, tries: 0 });
    }
  }

  /** Casts a vote. A duel has one: while it is under way or counted, another is not taken. */
  cast(vote: VoteIn): boolean {
    const before = this.known.get(targetOf(vote));
    if (vote.kind === "duel" && before && before.state !== "refused") return false;
    this.entries = this.entries.filter((one) => targetOf(one.vote) !== targetOf(vote));
    const entry = { key: this.newKey(), vote };
    this.entries.push(entry);
    this.write();
    this.tell(vote, { state: "sending", vote, tries: 0 });
    void this.deliver(entry, 0);
    return true;
  }

  /** Sends what an earlier page or a cut line left behind, under the keys it was first sent with. */
  flush(): void {
    for (const entry of this.entries) void this.deliver(entry, 0);
  }

  of(target: string): Sending | undefined {
    return this.known.get(target);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Calls back when a vote was counted or refused. */
  onSettled(listener: (vote: VoteIn, sending: Sending) => void): () => void {
    this.counters.add(listener);
    return () => this.counters.delete(listener);
  }

  private async deliver(entry: Entry, tries: number): Promise<void> {
    if (this.underWay.has(entry.key) || !this.entries.includes(entry)) return;
    this.underWay.add(entry.key);
    let sending: Sending;
    try {
      sending = { state: "counted", vote: entry.vote, counted: await this.send(entry.vote, entry.key) };
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem(0, "unreachable", String(error));
      // Signed out is no verdict on the vote: it goes out after the next sign-in.
      if (problem.passing || problem.status === 401) {
        this.tell(entry.vote, { state: "sending", vote: entry.vote, tries: tries + 1 });
        this.later(() => void this.deliver(entry, tries + 1), waitMs(tries));
        return;
      }
      sending = { state: "refused", vote: entry.vote, problem };
    } finally {
      this.underWay.delete(entry.key);
    }
    const replaced = !this.entries.includes(entry);
    this.entries = this.entries.filter((one) => one !== entry);
    this.write();
    if (!replaced) this.tell(entry.vote, sending);
  }

  private tell(vote: VoteIn, sending: Sending): void {
    this.known.set(targetOf(vote), sending);
    for (const listener of this.listeners) listener();
    if (sending.state !== "sending") for (const counter of this.counters) counter(vote, sending);
  }

  private read(): Entry[] {
    try {
      return JSON.parse(this.storage.getItem(STORAGE_KEY) ?? "[]");
    } catch {
      return [];
    }
  }

  /** Another tab may keep votes of its own here: only those that are ours are changed. */
  private write(): void {
    const ours = new Set(this.everOurs);
    const others = this.read().filter((one) => !ours.has(one.key));
    for (const { key } of this.entries) this.everOurs.add(key);
    try {
      this.storage.setItem(STORAGE_KEY, JSON.stringify([...others, ...this.entries]));
    } catch {
      // Storage is full or forbidden: the vote is still sent, it only cannot outlive the page.
    }
  }

  private readonly everOurs = new Set<string>();
}

export const outbox = new Outbox(localStorage, api.vote);
addEventListener("online", () => outbox.flush());

export function useSending(target: string): Sending | undefined {
  return useSyncExternalStore(outbox.subscribe, () => outbox.of(target));
}
