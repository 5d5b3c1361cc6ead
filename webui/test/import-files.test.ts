/** Files with conversations: what is in them, and that a bad one costs only itself. */
import { describe, expect, it } from "vitest";
import { type Conversation, Problem } from "../src/api";
import { conversationsIn, importFiles } from "../src/views/chat/import-files";

const file = (text: string) => new File([text], "chats.json");

describe("conversationsIn", () => {
  it("finds one, a list of them, or one a line", () => {
    expect(conversationsIn('{"messages": []}')).toEqual([{ messages: [] }]);
    expect(conversationsIn('[{"a": 1}, {"a": 2}]')).toEqual([{ a: 1 }, { a: 2 }]);
    expect(conversationsIn('{"a": 1}\n\n{"a": 2}\r\n')).toEqual([{ a: 1 }, { a: 2 }]);
  });
});

describe("importFiles", () => {
  it("takes what can be taken and says why the first was refused", async () => {
    const refusal = new Problem(422, "not_importable", "messages: there is none");
    const send = async (one: unknown) => {
      if ((one as { a: number }).a === 2) throw refusal;
      return { id: `conv_${(one as { a: number }).a}` } as Conversation;
    };
    const done = await importFiles([file('{"a": 1}\n{"a": 2}\n{"a": 3}'), file("no json")], send);
    expect(done.taken.map((one) => one.id)).toEqual(["conv_1", "conv_3"]);
    expect([done.refused, done.problem]).toEqual([2, refusal]);
  });
});
