/** The outbox: a vote survives a dead line and a reload, and is counted once. */
import { beforeEach, describe, expect, it } from "vitest";
import { Problem, type VoteCounted, type VoteIn } from "../src/api";
import { Outbox } from "../src/outbox";

const VOTE: VoteIn = { kind: "duel", duel_id: "duel_1", choice: "a", shown_ms: 900 };
const away = () => new Problem(503, "store_unavailable", "");
const counted = (key: string): VoteCounted => ({
  vote: { id: key, kind: "duel", duel_id: "duel_1", answer_id: null, choice: "a", created_at: "" },
  pending: 13,
  min_votes: 50,
  reveal: { version_a: 2, version_b: 1 },
});

/** A server that counts each key once; it can be away, or lose its reply after it has counted. */
class Server {
  readonly kept = new Map<string, VoteIn>();
  readonly keys: string[] = [];
  fault: "none" | "away" | "reply lost" | Problem = "none";

  send = async (vote: VoteIn, key: string): Promise<VoteCounted> => {
    this.keys.push(key);
    if (this.fault instanceof Problem) throw this.fault;
    if (this.fault === "away") throw away();
    this.kept.set(key, vote);
    if (this.fault === "reply lost") throw new Problem(0, "unreachable", "");
    return counted(key);
  };
}

let server: Server;
let waiting: (() => void)[];
const settle = () => new Promise((done) => setTimeout(done));
let serial = 0;
const open = () =>
  new Outbox(
    localStorage,
    server.send,
    (work) => waiting.push(work),
    () => `key-${++serial}`,
  );

beforeEach(() => {
  localStorage.clear();
  server = new Server();
  waiting = [];
  serial = 0;
});

describe("Outbox", () => {
  it("counts a vote and keeps nothing behind", async () => {
    const outbox = open();
    expect(outbox.cast(VOTE)).toBe(true);
    await settle();
    expect(outbox.of("duel_1")).toMatchObject({ state: "counted", counted: { pending: 13 } });
    expect(JSON.parse(localStorage.getItem("heed.outbox") ?? "")).toEqual([]);
  });

  it("sends one vote of a duel however often it is cast", async () => {
    const outbox = open();
    outbox.cast(VOTE);
    expect(outbox.cast({ ...VOTE, choice: "b" })).toBe(false);
    await settle();
    expect(outbox.cast({ ...VOTE, choice: "b" })).toBe(false);
    await settle();
    expect(server.keys).toHaveLength(1);
  });

  it("sends again under the same key when the server was away", async () => {
    server.fault = "away";
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    expect(outbox.of("duel_1")).toMatchObject({ state: "sending", tries: 1 });
    server.fault = "none";
    waiting.shift()?.();
    await settle();
    expect(outbox.of("duel_1")?.state).toBe("counted");
    expect(server.keys).toEqual(["key-1", "key-1"]);
  });

  it("is counted once when the reply was lost", async () => {
    server.fault = "reply lost";
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    server.fault = "none";
    waiting.shift()?.();
    await settle();
    expect([...server.kept.keys()]).toEqual(["key-1"]);
  });

  it("goes out after a reload under the key it had before", async () => {
    server.fault = "away";
    open().cast(VOTE);
    await settle();
    server.fault = "none";
    const reloaded = open();
    expect(reloaded.of("duel_1")?.state).toBe("sending");
    reloaded.flush();
    await settle();
    expect(server.keys).toEqual(["key-1", "key-1"]);
    expect(reloaded.of("duel_1")?.state).toBe("counted");
    expect(JSON.parse(localStorage.getItem("heed.outbox") ?? "")).toEqual([]);
  });

  it("is not sent twice at once by two flushes", async () => {
    server.fault = "away";
    open().cast(VOTE);
    await settle();
    server.fault = "none";
    const reloaded = open();
    reloaded.flush();
    reloaded.flush();
    await settle();
    expect(server.keys).toHaveLength(2);
  });

  it("waits for the next sign-in instead of dropping the vote", async () => {
    server.fault = new Problem(401, "signed_out", "");
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    expect(outbox.of("duel_1")?.state).toBe("sending");
  });

  it("gives up on a refusal, and a new vote may be cast", async () => {
    server.fault = new Problem(409, "not_votable", "");
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    expect(outbox.of("duel_1")?.state).toBe("refused");
    expect(JSON.parse(localStorage.getItem("heed.outbox") ?? "")).toEqual([]);
    server.fault = "none";
    expect(outbox.cast(VOTE)).toBe(true);
  });

  it("lets the latest thumb win", async () => {
    server.fault = "away";
    const outbox = open();
    outbox.cast({ kind: "thumb", answer_id: "ans_1", choice: "up" });
    await settle();
    server.fault = "none";
    outbox.cast({ kind: "thumb", answer_id: "ans_1", choice: "down" });
    for (const work of waiting.splice(0)) work();
    await settle();
    expect([...server.kept.values()].map((one) => one.choice)).toEqual(["down"]);
  });

  it("leaves another tab's votes where they are", async () => {
    server.fault = "away";
    const mine = open();
    const other = open();
    other.cast({ ...VOTE, duel_id: "duel_2" });
    mine.cast(VOTE);
    await settle();
    const kept = JSON.parse(localStorage.getItem("heed.outbox") ?? "") as { vote: { duel_id: string } }[];
    expect(kept.map((one) => one.vote.duel_id).sort()).toEqual(["duel_1", "duel_2"]);
  });
});
