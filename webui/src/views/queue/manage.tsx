/** For admins: what is in the queue, how the annotators do, and what goes in. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { api, type QueueItems } from "../../api";
import { formatNumber } from "../../format";
import { keys, queries } from "../../queries";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/judging";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { GuidelineEditor } from "./guideline-editor";
import { parts } from "./parts";

export default function Manage({ onChanged }: { onChanged: () => void }) {
  const client = useQueryClient();
  const query = useQuery(queries.queueItems);
  const [problem, setProblem] = useState<unknown>(null);
  const changed = () => {
    void client.invalidateQueries({ queryKey: keys.queueItems });
    onChanged();
  };
  const remove = async (id: string) => {
    setProblem(null);
    await api.queueRemove(id).catch(setProblem);
    changed();
  };
  return (
    <div className="grid items-start gap-4 min-[1100px]:grid-cols-[22rem_minmax(0,1fr)]">
      <div className="flex min-w-0 flex-col gap-4">
        <Upload onAdded={changed} />
        <GuidelineEditor />
      </div>
      <div className="flex min-w-0 flex-col gap-4">
        {query.isPending && <Loading lines={6} />}
        {query.error && <ProblemLine error={query.error} retry={() => void query.refetch()} />}
        {problem !== null && <ProblemLine error={problem} />}
        {query.data && <Annotators page={query.data} />}
        {query.data && <Items page={query.data} remove={remove} />}
      </div>
    </div>
  );
}

function Upload({ onAdded }: { onAdded: () => void }) {
  const texts = useTexts();
  const [text, setText] = useState("");
  const [overlap, setOverlap] = useState(2);
  const [busy, setBusy] = useState(false);
  const [added, setAdded] = useState<{ added: number; known: number } | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const field = useId();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    const total = { added: 0, known: 0 };
    try {
      for (const part of parts(text)) {
        const answer = await api.queueAdd(part.jsonl, part.first_line, overlap);
        total.added += answer.added;
        total.known += answer.known;
      }
      setText("");
    } catch (error) {
      setProblem(error);
    }
    setAdded(total);
    setBusy(false);
    if (total.added) onAdded();
  };
  return (
    <form className="card flex flex-col gap-3 p-4" onSubmit={(event) => void submit(event)}>
      <h2 className="font-semibold">{texts.queue.add}</h2>
      <p className="text-[0.9rem] text-muted">{texts.queue.addHint}</p>
      <pre className="rounded-lg bg-sunken p-2.5 text-[0.78rem] wrap-anywhere whitespace-pre-wrap">
        {
          '{"prompt": "…"}\n{"prompt": "…", "answers": ["…", "…"]}\n{"prompt": "…", "answers": ["…", "…"], "gold": "a"}'
        }
      </pre>
      <input
        type="file"
        accept=".jsonl,.json,.txt,application/x-ndjson"
        aria-label={texts.queue.file}
        className="text-[0.9rem] text-muted file:mr-2.5 file:rounded-lg file:border file:border-line-strong file:bg-surface file:px-2.5 file:py-1 file:font-medium file:text-ink"
        onChange={(event) => void event.target.files?.[0]?.text().then(setText)}
      />
      <label htmlFor={field} className="sr-only">
        {texts.queue.lines}
      </label>
      <textarea
        id={field}
        className="field min-h-36 font-mono text-[0.82rem]"
        placeholder={texts.queue.lines}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <label className="flex items-center gap-2 text-[0.92rem]">
        {texts.queue.overlap}
        <input
          type="number"
          min={1}
          max={50}
          className="field w-20"
          value={overlap}
          onChange={(event) => setOverlap(Math.min(50, Math.max(1, Number(event.target.value) || 1)))}
        />
      </label>
      {problem !== null && <ProblemLine error={problem} />}
      <p role="status" className="text-[0.9rem] text-muted empty:hidden">
        {added && (added.added > 0 || problem === null) && texts.queue.added(added.added, added.known)}
      </p>
      <button type="submit" className="btn btn-main w-fit" disabled={busy || !text.trim()}>
        {texts.queue.addThem}
      </button>
    </form>
  );
}

function Annotators({ page }: { page: QueueItems }) {
  const texts = useTexts();
  const language = useLanguage();
  const of = (right: number, all: number) => (all ? `${right} / ${all}` : "–");
  if (!page.annotators.length) return null;
  const columns = texts.queue.columns;
  return (
    <section className="card overflow-x-auto" aria-label={texts.queue.annotators} tabIndex={0}>
      <table className="w-full text-[0.92rem]">
        <caption className="p-3 pb-1.5 text-left font-semibold">{texts.queue.annotators}</caption>
        <thead>
          <tr className="text-left text-muted">
            {[columns.name, columns.verdicts, columns.gold, columns.self, columns.seconds].map((name) => (
              <th key={name} scope="col" className="px-3 py-1.5 font-medium">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {page.annotators.map((one) => (
            <tr key={one.annotator_id} className="border-t border-line">
              <th scope="row" className="px-3 py-1.5 text-left font-normal">
                {one.name ?? one.annotator_id}
              </th>
              <td className="px-3 py-1.5">{one.verdicts}</td>
              <td className="px-3 py-1.5">{of(one.gold_right, one.gold)}</td>
              <td className="px-3 py-1.5">{of(one.repeats_same, one.repeats)}</td>
              <td className="px-3 py-1.5">
                {one.seconds === null ? "–" : formatNumber(one.seconds, language)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Items({ page, remove }: { page: QueueItems; remove: (id: string) => void }) {
  const texts = useTexts();
  const [shown, setShown] = useState(50);
  if (!page.items.length)
    return (
      <div className="card">
        <Empty title={texts.queue.noItems} hint={texts.queue.noItemsHint} />
      </div>
    );
  return (
    <section className="card" aria-label={texts.queue.items}>
      <h2 className="p-3 pb-1.5 font-semibold">{texts.queue.itemsN(page.items.length)}</h2>
      <ul>
        {page.items.slice(0, shown).map((item) => (
          <li key={item.id} className="flex items-center gap-3 border-t border-line px-3 py-1.5">
            <span className="min-w-0 flex-1 truncate" title={item.prompt}>
              {item.prompt}
            </span>
            {item.asked && <span className="chip">{texts.queue.asked[item.asked.how]}</span>}
            {item.gold ? (
              <span className="chip chip-good">{texts.queue.known(texts.mine.said(item.gold, 1))}</span>
            ) : (
              <span className="text-[0.9rem] text-muted tabular-nums">
                {texts.queue.verdictsOf(item.verdicts, item.overlap)}
              </span>
            )}
            <button
              type="button"
              className="icon-btn"
              aria-label={texts.queue.remove(item.prompt.slice(0, 40))}
              onClick={() => remove(item.id)}
            >
              <Icon name="close" className="size-4" />
            </button>
          </li>
        ))}
      </ul>
      {page.items.length > shown && (
        <p className="border-t border-line p-2">
          <button type="button" className="btn btn-small" onClick={() => setShown(shown + 200)}>
            {texts.mine.more}
          </button>
        </p>
      )}
    </section>
  );
}
