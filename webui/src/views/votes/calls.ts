/** The explorer's calls to the server. */
import { call, type Problem } from "../../api";
import type { components } from "../../api-types";

type Schemas = components["schemas"];
export type VoteRow = Schemas["VoteRowOut"];
export type VotesFound = Schemas["VotesFound"];
export type VoteDetail = Schemas["VoteDetail"];
export type Selection = Schemas["SelectionOut"];
export type Reason = Schemas["ExcludeIn"]["reason"];
export type ReviewChoice = Schemas["ReviewIn"]["choice"];
export type ImportReport = Schemas["ImportReport"];
export type ImportSet = Schemas["ImportSetOut"];
export type Format = "preference" | "unpaired" | "sft";
export type Files = "jsonl" | "parquet";
/** Votes by id, or all that a query finds. */
export type Chosen = { ids: string[] } | { q: string };
export type { Problem };

const search = (values: Record<string, string>) => new URLSearchParams(values).toString();

export const explorer = {
  find: (q: string, cursor: number | null) =>
    call<VotesFound>(
      "GET",
      `/api/v1/votes?${search({ q, ...(cursor === null ? {} : { cursor: `${cursor}` }) })}`,
    ),
  detail: (id: string) => call<VoteDetail>("GET", `/api/v1/votes/${encodeURIComponent(id)}`),
  exclude: (chosen: Chosen, reason: Reason, note: string, dry_run: boolean) =>
    call<Selection>("POST", "/api/v1/exclusions", { ...chosen, reason, note, dry_run }),
  restore: (chosen: Chosen, dry_run: boolean) =>
    call<Selection>("POST", "/api/v1/restorations", { ...chosen, dry_run }),
  review: (id: string, choice: ReviewChoice) =>
    call<unknown>("POST", `/api/v1/votes/${encodeURIComponent(id)}/reviews`, { choice }),
  askOthers: (id: string) => call<unknown>("POST", `/api/v1/votes/${encodeURIComponent(id)}/queue`),
  exportPath: (format: Format, files: Files, q: string) => `/api/v1/exports?${search({ format, files, q })}`,
  imports: () => call<{ items: ImportSet[] }>("GET", "/api/v1/imports"),
  import: (file: Blob, name: string, tag: string, dry_run: boolean) =>
    call<ImportReport>("POST", `/api/v1/imports?${search({ name, tag, dry_run: `${dry_run}` })}`, file),
  takeImport: (id: string, in_use: boolean) =>
    call<ImportSet>("PATCH", `/api/v1/imports/${encodeURIComponent(id)}`, { in_use }),
};
