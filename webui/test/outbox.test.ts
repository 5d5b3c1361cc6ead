/** The outbox: what was said survives a dead line and a reload, goes out in order, and counts once. */
import { beforeEach, describe, expect, it } from "vitest";
import { Problem, type VoteChange, type VoteCounted, type VoteIn } from "../src/api";
import { Outbox } from "../src/outbox";

const VOTE: VoteIn = { kind: "duel", duel_id: "duel_1", choice: "a", strength: 1, shown_ms: 900 };
const away = () => new Problem(503, "store_unavailable", "");
const counted = (key: string) =>
  ({ vote: { id: `vote-of-${key}`, answers: [] }, pending: 13, min_votes: 50, reveal: { version_a: 2, version_b: 1 } }) as unknown as VoteCounted; // biome-ignore format: a fixture

/** A server that counts each key once; it can be away, or lose its reply after it has counted. */
class Server {
  readonly kept = new Map<string, VoteIn>();
  readonly calls: string[] = [];
  fault: "none" | "away" | "reply lost" | Problem = "none";

  private async answer<T>(call: string, work: () => T): Promise<T> {
    this.calls.push(call);
    if (this.fault instanceof Problem) throw this.fault;
    if (this.fault === "away") throw away();
    const reply = work();
    if (this.fault === "reply lost") throw new Problem(0, "unreachable", "");
    return reply;
  }
  vote = (vote: VoteIn, key: string) =>
    this.answer(`vote ${key}`, () => {
      this.kept.set(key, vote);
      return counted(key);
    });
  amendVote = (id: string, change: VoteChange) =>
    this.answer(`amend ${id} ${JSON.stringify(change)}`, () => null);
  undoVote = (id: string) => this.answer(`undo ${id}`, () => null);
}

let server: Server;
let waiting: (() => void)[];
const settle = () => new Promise((done) => setTimeout(done));
const runLater = async () => {
  for (const work of waiting.splice(0)) work();
  await settle();
};
const inStorage = (): { target: string }[] => JSON.parse(localStorage.getItem("heed.outbox") ?? "[]");
let serial = 0;
const open = () =>
  new Outbox(
    localStorage,
    server,
    (work) => waiting.push(work),
    () => `key-${++serial}`,
  );

beforeEach(() => {
  localStorage.clear();
  server = new Server();
  waiting = [];
  serial = 0;
});

describe("a vote", () => {
  it("is counted and leaves nothing behind", async () => {
    const outbox = open();
    expect(outbox.cast(VOTE)).toBe(true);
    await settle();
    expect(outbox.of("duel_1")).toMatchObject({ state: "counted", counted: { pending: 13 } });
    expect(inStorage()).toEqual([]);
  });

  it("of a duel is sent once however often it is cast", async () => {
    const outbox = open();
    outbox.cast(VOTE);
    expect(outbox.cast({ ...VOTE, choice: "b" })).toBe(false);
    await settle();
    expect(outbox.cast({ ...VOTE, choice: "b" })).toBe(false);
    await settle();
    expect(server.calls).toEqual(["vote key-1"]);
  });

  it("goes out again under the same key when the server was away", async () => {
    server.fault = "away";
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    expect(outbox.of("duel_1")).toMatchObject({ state: "sending", tries: 1 });
    server.fault = "none";
    await runLater();
    expect(outbox.of("duel_1")?.state).toBe("counted");
    expect(server.calls).toEqual(["vote key-1", "vote key-1"]);
  });

  it("is counted once when the reply was lost", async () => {
    server.fault = "reply lost";
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    server.fault = "none";
    await runLater();
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
    reloaded.flush();
    await settle();
    expect(server.calls).toEqual(["vote key-1", "vote key-1"]);
    expect(reloaded.of("duel_1")?.state).toBe("counted");
    expect(inStorage()).toEqual([]);
  });

  it("waits for the next sign-in instead of being dropped", async () => {
    server.fault = new Problem(401, "signed_out", "");
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    expect(outbox.of("duel_1")?.state).toBe("sending");
  });

  it("that is refused is given up, and a new one may be cast", async () => {
    server.fault = new Problem(409, "not_votable", "");
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    expect(outbox.of("duel_1")?.state).toBe("refused");
    expect(inStorage()).toEqual([]);
    server.fault = "none";
    expect(outbox.cast(VOTE)).toBe(true);
  });

  it("of another tab stays where it is", async () => {
    server.fault = "away";
    const mine = open();
    const other = open();
    other.cast({ ...VOTE, duel_id: "duel_2" });
    mine.cast(VOTE);
    await settle();
    expect(inStorage().map((one) => one.target).sort()).toEqual(["duel_1", "duel_2"]); // biome-ignore format: short
  });
});

describe("a thumb", () => {
  it("that is changed before it has left is sent as the latest", async () => {
    server.fault = "away";
    const outbox = open();
    outbox.cast({ kind: "thumb", answer_id: "ans_1", choice: "up" });
    outbox.cast({ kind: "thumb", answer_id: "ans_1", choice: "down" });
    await settle();
    server.fault = "none";
    await runLater();
    await runLater();
    expect([...server.kept.values()].map((one) => "choice" in one && one.choice).at(-1)).toBe("down");
    expect(outbox.of("ans_1")).toMatchObject({ state: "counted", vote: { choice: "down" } });
  });
});

describe("reasons", () => {
  it("follow their vote, the latest alone", async () => {
    server.fault = "away";
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    outbox.amend("duel_1", { tags: ["clear"] });
    outbox.amend("duel_1", { tags: ["clear", "accurate"] });
    outbox.amend("duel_1", { comment: "good" });
    server.fault = "none";
    await runLater();
    expect(server.calls.slice(1)).toEqual([
      "vote key-1",
      'amend vote-of-key-1 {"tags":["clear","accurate"],"comment":"good"}',
    ]);
    expect(outbox.of("duel_1")).toMatchObject({ state: "counted", change: { comment: "good" } });
  });

  it("find their vote after a reload", async () => {
    server.fault = "away";
    const outbox = open();
    outbox.cast(VOTE);
    outbox.amend("duel_1", { tags: ["clear"] });
    await settle();
    server.fault = "none";
    open().flush();
    await settle();
    expect(server.calls.slice(-2)).toEqual(["vote key-1", 'amend vote-of-key-1 {"tags":["clear"]}']);
    expect(inStorage()).toEqual([]);
  });
});

describe("undo", () => {
  it("takes a counted vote back, and another may be cast", async () => {
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    outbox.undo("duel_1");
    expect(outbox.of("duel_1")?.state).toBe("undone");
    outbox.cast({ ...VOTE, choice: "b" });
    await settle();
    expect(server.calls).toEqual(["vote key-1", "undo vote-of-key-1", "vote key-3"]);
    expect(outbox.of("duel_1")).toMatchObject({ state: "counted", vote: { choice: "b" } });
  });

  it("waits for a vote that may have been counted, and drops its reasons", async () => {
    server.fault = "reply lost";
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    outbox.amend("duel_1", { tags: ["clear"] });
    outbox.undo("duel_1");
    server.fault = "none";
    await runLater();
    expect(server.calls).toEqual(["vote key-1", "vote key-1", "undo vote-of-key-1"]);
    expect(outbox.of("duel_1")?.state).toBe("undone");
    await runLater();
    expect(outbox.of("duel_1")).toBeUndefined();
  });

  it("takes back a vote of an earlier page by its id", async () => {
    const outbox = open();
    outbox.undo("duel_1", "vote_9");
    await settle();
    expect(server.calls).toEqual(["undo vote_9"]);
  });

  it("that comes too late leaves the vote counted and says why", async () => {
    const outbox = open();
    outbox.cast(VOTE);
    await settle();
    server.fault = new Problem(409, "too_late", "");
    outbox.undo("duel_1");
    await settle();
    expect(outbox.of("duel_1")).toMatchObject({ state: "counted", problem: { kind: "too_late" } });
  });
});
