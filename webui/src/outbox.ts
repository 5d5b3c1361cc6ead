/**
 * What the person said about answers, on its way: kept in this browser until the server has it. Votes, reasons
 * and undos of one target go out in the order they were given, each vote under one key, so it counts once.
 */
import { useSyncExternalStore } from "react";
import { api, Problem, type VoteChange, type VoteCounted, type VoteIn } from "./api";
import { waitMs } from "./events";

const STORAGE_KEY = "heed.outbox";
/** How long after its delivery an undone vote is still known as undone: until what was fetched says so too. */
const UNDONE_MS = 5000;

/** `of` is the id of the vote, or the key of the cast that is to go out before. */
export type Entry = { key: string; target: string } & (
  | { does: "cast"; vote: VoteIn }
  | { does: "amend"; of: string; change: VoteChange }
  | { does: "undo"; of: string }
);

/** What this page knows of a target: a vote under way, counted, refused for good, or taken back. */
export type Sending =
  | { state: "sending"; vote: VoteIn; tries: number; change?: VoteChange }
  | { state: "counted"; vote: VoteIn; counted: VoteCounted; change?: VoteChange; problem?: Problem }
  | { state: "refused"; vote: VoteIn; problem: Problem }
  | { state: "undone"; tries: number };

export interface Post {
  vote(vote: VoteIn, key: string): Promise<VoteCounted>;
  amendVote(id: string, change: VoteChange): Promise<unknown>;
  undoVote(id: string): Promise<unknown>;
}
type Later = (work: () => void, ms: number) => void;

export function targetOf(vote: VoteIn): string {
  if (vote.kind === "duel") return vote.duel_id;
  if (vote.kind === "ranking") return `ranking:${vote.ranking.flat().sort().join()}`;
  return vote.kind === "edit" ? `edit:${vote.answer_id}` : vote.answer_id;
}

const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class Outbox {
  private entries: Entry[];
  private readonly known = new Map<string, Sending>();
  private readonly counted = new Map<string, Extract<Sending, { state: "counted" }>>();
  private readonly tries = new Map<string, number>();
  private readonly underWay = new Set<string>();
  private readonly everOurs = new Set<string>();
  private readonly listeners = new Set<() => void>();
  private readonly settledListeners = new Set<(target: string) => void>();

  constructor(
    private readonly storage: Storage,
    private readonly post: Post,
    private readonly later: Later = (work, ms) => setTimeout(work, ms),
    private readonly newKey: () => string = randomKey,
  ) {
    this.entries = this.read();
    for (const entry of this.entries) {
      this.everOurs.add(entry.key);
      if (entry.does === "cast") this.known.set(entry.target, { state: "sending", vote: entry.vote, tries: 0 });
      if (entry.does === "undo") this.known.set(entry.target, { state: "undone", tries: 0 });
    }
  }

  /** Casts a vote. A duel has one: while it is under way or counted, another is not taken. */
  cast(vote: VoteIn): boolean {
    const target = targetOf(vote);
    const before = this.known.get(target)?.state;
    if (vote.kind === "duel" && (before === "sending" || before === "counted")) return false;
    this.entries = this.entries.filter((one) => !(one.target === target && this.isUnsentCast(one)));
    this.add({ key: this.newKey(), target, does: "cast", vote }, { state: "sending", vote, tries: 0 });
    return true;
  }

  /** Adds reasons or a comment to the target's vote, or changes them; sent when the vote is counted. */
  amend(target: string, change: VoteChange): void {
    const known = this.known.get(target);
    const of = this.voteOf(target);
    if (!of || !known || known.state === "refused" || known.state === "undone") return;
    const all = { ...known.change, ...change };
    this.entries = this.entries.filter(
      (one) => !(one.target === target && one.does === "amend" && !this.underWay.has(one.key)),
    );
    this.add({ key: this.newKey(), target, does: "amend", of, change: all }, { ...known, change: all });
  }

  /** Takes the target's vote back. `voteId`: the vote, where an earlier page has cast it. */
  undo(target: string, voteId?: string): void {
    const unsent = this.entries.find((one) => one.target === target && this.isUnsentCast(one));
    const of = this.voteOf(target) ?? voteId;
    if (unsent) {
      this.entries = this.entries.filter((one) => one.target !== target || one.does === "undo");
      this.write();
      this.tell(target, { state: "undone", tries: 0 });
      this.forgetUndone(target);
    } else if (of) {
      this.entries = this.entries.filter(
        (one) => !(one.target === target && one.does === "amend" && !this.underWay.has(one.key)),
      );
      this.add({ key: this.newKey(), target, does: "undo", of }, { state: "undone", tries: 0 });
    }
  }

  /** Sends what an earlier page or a cut line left behind, under the keys it was first sent with. */
  flush(): void {
    for (const target of new Set(this.entries.map((one) => one.target))) void this.deliver(target);
  }

  of(target: string): Sending | undefined {
    return this.known.get(target);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Calls back when the server has taken or refused something about a target. */
  onSettled(listener: (target: string) => void): () => void {
    this.settledListeners.add(listener);
    return () => this.settledListeners.delete(listener);
  }

  private isUnsentCast(entry: Entry): boolean {
    return entry.does === "cast" && !this.underWay.has(entry.key) && !this.tries.get(entry.key);
  }

  /** The id of the target's vote, or the key of its cast while that is under way. */
  private voteOf(target: string): string | undefined {
    const cast = this.entries.findLast((one) => one.target === target && one.does === "cast");
    const known = this.known.get(target);
    return cast?.key ?? (known?.state === "counted" ? known.counted.vote.id : undefined);
  }

  private add(entry: Entry, known: Sending): void {
    this.entries.push(entry);
    this.write();
    this.tell(entry.target, known);
    void this.deliver(entry.target);
  }

  /** Sends the target's oldest entry, then the next. */
  private async deliver(target: string): Promise<void> {
    const entry = this.entries.find((one) => one.target === target);
    if (!entry || this.underWay.has(entry.key)) return;
    this.underWay.add(entry.key);
    try {
      this.taken(entry, await this.send(entry));
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem(0, "unreachable", String(error));
      // Signed out is no verdict on the vote: it goes out after the next sign-in.
      if (problem.passing || problem.status === 401) return this.tryLater(entry);
      this.refused(entry, problem);
    } finally {
      this.underWay.delete(entry.key);
    }
    this.tries.delete(entry.key);
    for (const listener of this.settledListeners) listener(target);
    void this.deliver(target);
  }

  private send(entry: Entry): Promise<unknown> {
    if (entry.does === "cast") return this.post.vote(entry.vote, entry.key);
    return entry.does === "amend" ? this.post.amendVote(entry.of, entry.change) : this.post.undoVote(entry.of);
  }

  private tryLater(entry: Entry): void {
    const tries = this.tries.get(entry.key) ?? 0;
    this.tries.set(entry.key, tries + 1);
    const known = this.known.get(entry.target);
    if (known?.state === "sending" || known?.state === "undone")
      this.tell(entry.target, { ...known, tries: tries + 1 });
    this.later(() => void this.deliver(entry.target), waitMs(tries));
  }

  private taken(entry: Entry, reply: unknown): void {
    const isNewest = this.entries.findLast((one) => one.target === entry.target && one.does !== "amend") === entry;
    this.entries = this.entries.filter((one) => one !== entry);
    if (entry.does === "cast") {
      const counted = reply as VoteCounted;
      for (const one of this.entries) if (one.does !== "cast" && one.of === entry.key) one.of = counted.vote.id;
      const before = this.known.get(entry.target);
      const change = before?.state === "sending" ? before.change : undefined;
      const known = { state: "counted" as const, vote: entry.vote, counted, change };
      this.counted.set(entry.target, known);
      if (isNewest) this.tell(entry.target, known);
    }
    if (entry.does === "undo") this.forgetUndone(entry.target);
    this.write();
  }

  private refused(entry: Entry, problem: Problem): void {
    const { target } = entry;
    // What was to follow a vote that is refused has nothing to be about.
    this.entries = this.entries.filter(
      (one) => one !== entry && (entry.does !== "cast" || one.does === "cast" || one.of !== entry.key),
    );
    this.write();
    if (entry.does === "cast") return this.tell(target, { state: "refused", vote: entry.vote, problem });
    const counted = this.counted.get(target);
    if (counted) this.tell(target, { ...counted, problem });
    else {
      this.known.delete(target);
      this.notify();
    }
  }

  private forgetUndone(target: string): void {
    this.later(() => {
      if (this.known.get(target)?.state !== "undone") return;
      if (this.entries.some((one) => one.target === target)) return;
      this.known.delete(target);
      this.notify();
    }, UNDONE_MS);
  }

  private tell(target: string, sending: Sending): void {
    this.known.set(target, sending);
    this.notify();
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }

  private read(): Entry[] {
    try {
      const found: unknown = JSON.parse(this.storage.getItem(STORAGE_KEY) ?? "[]");
      return Array.isArray(found) ? found.filter((one) => typeof one?.does === "string") : [];
    } catch {
      return [];
    }
  }

  /** Another tab may keep votes of its own here: only those that are ours are changed. */
  private write(): void {
    const others = this.read().filter((one) => !this.everOurs.has(one.key));
    for (const { key } of this.entries) this.everOurs.add(key);
    try {
      this.storage.setItem(STORAGE_KEY, JSON.stringify([...others, ...this.entries]));
    } catch {
      // Storage is full or forbidden: the vote is still sent, it only cannot outlive the page.
    }
  }
}

export const outbox = new Outbox(localStorage, api);
addEventListener("online", () => outbox.flush());

export function useSending(target: string): Sending | undefined {
  return useSyncExternalStore(outbox.subscribe, () => outbox.of(target));
}

/** The vote that this page gave and that is not refused or taken back. */
export const givenVote = (sending: Sending | undefined): VoteIn | null =>
  sending && (sending.state === "sending" || sending.state === "counted") ? sending.vote : null;
