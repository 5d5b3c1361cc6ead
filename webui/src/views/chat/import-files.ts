/** Files with conversations: one JSON object, a list of them, or one a line. */
import { type Conversation, Problem } from "../../api";

export interface ImportDone {
  taken: Conversation[];
  refused: number;
  /** Why the first one was refused. */
  problem: Problem | null;
}

/** The objects in a file's text. Throws Problem where it is no JSON. */
export function conversationsIn(text: string): unknown[] {
  try {
    const whole: unknown = JSON.parse(text);
    return Array.isArray(whole) ? whole : [whole];
  } catch {
    // Perhaps one object a line.
  }
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  try {
    return lines.map((line) => JSON.parse(line) as unknown);
  } catch {
    throw new Problem(422, "not_importable", "");
  }
}

/** Sends one conversation after another, so that one that is refused costs only itself. */
export async function importFiles(
  files: readonly File[],
  send: (one: unknown) => Promise<Conversation>,
): Promise<ImportDone> {
  const done: ImportDone = { taken: [], refused: 0, problem: null };
  const refuse = (error: unknown) => {
    done.refused += 1;
    done.problem ??= error instanceof Problem ? error : new Problem(0, "unreachable", String(error));
  };
  for (const file of files) {
    let found: unknown[] = [];
    try {
      found = conversationsIn(await file.text());
    } catch (error) {
      refuse(error);
    }
    for (const one of found) await send(one).then((made) => done.taken.push(made), refuse);
  }
  return done;
}
