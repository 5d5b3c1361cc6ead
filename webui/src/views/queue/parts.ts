/** Cuts a file of lines into parts that a request can carry. */

/** Below the server's limit for a body, with room for what JSON adds by escaping. */
const PART_BYTES = 100_000;

export interface Part {
  jsonl: string;
  /** Its number in the file, from 1: problems name lines by it. */
  first_line: number;
}

export function parts(text: string, limit = PART_BYTES): Part[] {
  const encoder = new TextEncoder();
  const found: Part[] = [];
  let lines: string[] = [];
  let size = 0;
  let first = 1;
  text.split(/\r?\n/).forEach((line, index) => {
    const bytes = encoder.encode(JSON.stringify(line)).length;
    if (lines.length && size + bytes > limit) {
      found.push({ jsonl: lines.join("\n"), first_line: first });
      lines = [];
      size = 0;
    }
    if (!lines.length) first = index + 1;
    lines.push(line);
    size += bytes;
  });
  if (lines.some((line) => line.trim())) found.push({ jsonl: lines.join("\n"), first_line: first });
  return found;
}
