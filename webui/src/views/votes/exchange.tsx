/** The filtered votes out as a data set, and preference data of others in. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/explorer";
import { CopyButton } from "../../ui/copy";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { ProblemLine } from "../../ui/notice";
import { explorer, type Files, type Format, type ImportReport } from "./calls";

const FORMATS: Format[] = ["preference", "unpaired", "sft"];
const FILES: Files[] = ["jsonl", "parquet"];

export function ExportDialog({
  query,
  total,
  onClose,
}: {
  query: string;
  total: number;
  onClose: () => void;
}) {
  const texts = useTexts();
  const words = texts.votes;
  const [format, setFormat] = useState<Format>("preference");
  const [files, setFiles] = useState<Files>("jsonl");
  const path = explorer.exportPath(format, files, query);
  const curl = `curl -fJO -H "Authorization: Bearer $HEED_KEY" "${location.origin}${path}"`;
  const load = 'from datasets import load_dataset\ndata = load_dataset("the/unpacked/folder")';
  return (
    <Dialog title={words.exportTitle} onClose={onClose}>
      <div className="flex flex-col gap-3">
        <p>{words.exportLead(total)}</p>
        <fieldset className="flex flex-col gap-1.5">
          <legend className="mb-1 font-medium">{words.format}</legend>
          {FORMATS.map((one) => (
            <label key={one} className="flex items-start gap-2">
              <input
                type="radio"
                name="format"
                className="mt-1.5"
                checked={format === one}
                onChange={() => setFormat(one)}
              />
              <span>
                {words.formats[one]}
                <span className="block text-[0.87rem] text-muted">{words.formatHints[one]}</span>
              </span>
            </label>
          ))}
        </fieldset>
        <fieldset className="flex flex-wrap gap-x-5 gap-y-1.5">
          <legend className="mb-1 font-medium">{words.files}</legend>
          {FILES.map((one) => (
            <label key={one} className="flex items-center gap-2">
              <input type="radio" name="files" checked={files === one} onChange={() => setFiles(one)} />
              {words.filesAs[one]}
            </label>
          ))}
        </fieldset>
        <Snippet label={words.sameByCurl} text={curl} />
        <Snippet label={words.loadIt} text={load} />
        <div className="flex justify-end gap-2">
          <button type="button" className="btn" onClick={onClose}>
            {texts.common.cancel}
          </button>
          <a className="btn btn-main" href={path} download onClick={onClose}>
            {words.download}
          </a>
        </div>
      </div>
    </Dialog>
  );
}

function Snippet({ label, text }: { label: string; text: string }) {
  return (
    <div>
      <p className="eyebrow">{label}</p>
      <div className="flex items-start gap-1 rounded-lg bg-sunken py-1.5 pr-1 pl-3">
        <pre className="min-w-0 flex-1 overflow-x-auto py-1 font-mono text-[0.8rem]" tabIndex={0}>
          {text}
        </pre>
        <CopyButton text={text} label={label} />
      </div>
    </div>
  );
}

export function ImportDialog({ onClose }: { onClose: () => void }) {
  const texts = useTexts();
  const words = texts.votes;
  const client = useQueryClient();
  const [file, setFile] = useState<File | null>(null);
  const [tag, setTag] = useState("");
  const read = useMutation({
    mutationFn: ({ file, dry }: { file: File; dry: boolean }) =>
      explorer.import(file, plainName(file.name), tag.trim() || "imported", dry),
    onSuccess: (report) => report.kept && client.invalidateQueries({ queryKey: ["imports"] }),
  });
  const choose = (chosen: File | undefined) => {
    if (!chosen) return;
    setFile(chosen);
    if (!tag) setTag(plainName(chosen.name).replace(/\.jsonl?$/, ""));
    read.mutate({ file: chosen, dry: true });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (file) read.mutate({ file, dry: false });
  };
  const report = read.data;
  return (
    <Dialog title={words.importTitle} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{words.importHint}</p>
        <label
          className="flex flex-col gap-1 rounded-lg border border-dashed border-line-strong p-3"
          onDragOver={(event) => event.preventDefault()}
          onDrop={(event) => {
            event.preventDefault();
            choose(event.dataTransfer.files[0]);
          }}
        >
          <span className="font-medium">{words.file}</span>
          <input
            type="file"
            accept=".jsonl,.json,.ndjson"
            onChange={(event) => choose(event.target.files?.[0])}
          />
        </label>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.sourceTag}</span>
          <input
            className="field"
            value={tag}
            maxLength={80}
            onChange={(event) => setTag(event.target.value)}
          />
        </label>
        {read.error && <ProblemLine error={read.error} />}
        {report && <Report report={report} />}
        {!report?.kept && (
          <DialogButtons onClose={onClose} disabled={!report?.pairs || read.isPending}>
            {words.importN(report?.pairs ?? 0)}
          </DialogButtons>
        )}
      </form>
      <ImportSets />
    </Dialog>
  );
}

/** What the server takes as a name: letters, digits, blanks, dots and dashes. */
const plainName = (name: string) =>
  name.replace(/[^\p{L}\p{N} ._-]+/gu, "_").replace(/^[^\p{L}\p{N}]+/u, "") || "file";

function Report({ report }: { report: ImportReport }) {
  const words = useTexts().votes;
  const first = report.preview[0];
  return (
    <div role="status" className="flex flex-col gap-2 rounded-lg bg-sunken px-3 py-2">
      <p className="font-medium">
        {report.kept ? words.kept(report.pairs) : words.read(report.pairs, report.refused, report.duplicates)}
      </p>
      {report.problems.length > 0 && (
        <ul
          className="max-h-32 overflow-y-auto text-[0.87rem] text-bad"
          tabIndex={0}
          aria-label={words.problems}
        >
          {report.problems.map((one, index) => (
            <li key={index}>{words.problemLine(one.line, one.field ?? "", one.message)}</li>
          ))}
        </ul>
      )}
      {first && !report.kept && (
        <dl className="text-[0.87rem]">
          <dt className="eyebrow">{words.firstRow}</dt>
          <dd className="line-clamp-2">{first.prompt.at(-1)?.content}</dd>
          {first.chosen[0] && <dd className="line-clamp-2 text-accent">+ {first.chosen[0].content}</dd>}
          {first.rejected[0] && <dd className="line-clamp-2 text-bad">− {first.rejected[0].content}</dd>}
        </dl>
      )}
    </div>
  );
}

function ImportSets() {
  const words = useTexts().votes;
  const language = useLanguage();
  const client = useQueryClient();
  const sets = useQuery({ queryKey: ["imports"], queryFn: explorer.imports });
  const use = useMutation({
    mutationFn: ({ id, on }: { id: string; on: boolean }) => explorer.takeImport(id, on),
    onSuccess: () => client.invalidateQueries({ queryKey: ["imports"] }),
  });
  if (!sets.data?.items.length) return null;
  return (
    <section className="mt-4 border-t border-line pt-3" aria-label={words.imported}>
      <h3 className="eyebrow mb-1">{words.imported}</h3>
      <ul className="flex flex-col gap-1">
        {sets.data.items.map((one) => (
          <li key={one.id}>
            <label className="flex items-center gap-2">
              <input
                type="checkbox"
                checked={one.in_use}
                onChange={(event) => use.mutate({ id: one.id, on: event.target.checked })}
              />
              <span className="min-w-0 flex-1 truncate">{one.name}</span>
              <span className="text-[0.87rem] text-muted">
                {words.rows(one.pairs)} · {formatTime(one.created_at, language)}
              </span>
            </label>
          </li>
        ))}
      </ul>
      <p className="mt-1 text-[0.87rem] text-muted">{words.importedHint}</p>
    </section>
  );
}
