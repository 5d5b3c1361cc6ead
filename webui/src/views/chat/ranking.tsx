/** Ranking of one message's answers: a digit gives the rank of the card in focus, the same digit is a tie. */
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { Answer } from "../../api";
import { Markdown } from "../../markdown/blocks";
import { outbox, useSending } from "../../outbox";
import { rankingOf } from "../../ranking";
import { useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";
import { ProblemLine } from "../../ui/notice";

export default function Ranking({ answers, onClose }: { answers: Answer[]; onClose: () => void }) {
  const texts = useTexts();
  const [ranks, setRanks] = useState<Readonly<Record<string, number>>>({});
  const [dragged, setDragged] = useState<string | null>(null);
  const shownAt = useRef(performance.now());
  const grid = useRef<HTMLDivElement>(null);
  const ranking = rankingOf(answers, ranks);
  const isWhole = answers.every((one) => ranks[one.id] !== undefined);
  const target = `ranking:${answers.map((one) => one.id).sort().join()}`;
  const sending = useSending(target);
  useEffect(() => grid.current?.querySelector<HTMLElement>("[data-rank-card]")?.focus(), []);

  const give = (id: string, rank: number) => setRanks((before) => ({ ...before, [id]: rank }));
  const save = () => {
    if (!isWhole) return;
    const shown_ms = Math.round(performance.now() - shownAt.current);
    outbox.cast({ kind: "ranking", ranking, shown_ms });
    onClose();
  };
  const onKeyDown = (event: KeyboardEvent, index: number) => {
    const answer = answers[index];
    if (!answer || event.ctrlKey || event.metaKey || event.altKey) return;
    const rank = Number(event.key);
    const cards = [...(grid.current?.querySelectorAll<HTMLElement>("[data-rank-card]") ?? [])];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (rank >= 1 && rank <= answers.length) {
      give(answer.id, rank);
      // On to the next that has no rank yet.
      const after = [...answers.keys()].map((one) => (index + 1 + one) % answers.length);
      const next = after.find((one) => one !== index && ranks[answers[one]?.id ?? ""] === undefined);
      if (next !== undefined) cards[next]?.focus();
    } else if (step) cards[(index + step + cards.length) % cards.length]?.focus();
    else if (event.key === "Enter" && event.target === event.currentTarget) save();
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title={texts.ranking.title} onClose={onClose} wide>
      <p className="mb-3 text-muted">{texts.ranking.hint(answers.length)}</p>
      {sending?.state === "refused" && <ProblemLine error={sending.problem} />}
      <div ref={grid} className="grid gap-3 md:grid-cols-2">
        {answers.map((answer, index) => (
          <article
            key={answer.id}
            data-rank-card
            tabIndex={0}
            draggable
            aria-label={texts.ranking.card(index + 1, ranks[answer.id])}
            className={`card flex max-h-[42vh] flex-col ${dragged === answer.id ? "opacity-50" : ""}`}
            onKeyDown={(event) => onKeyDown(event, index)}
            onDragStart={() => setDragged(answer.id)}
            onDragEnd={() => setDragged(null)}
            onDragOver={(event) => event.preventDefault()}
            onDrop={(event) => {
              event.preventDefault();
              // Dropped on a card it takes that one's rank, and gives its own.
              const mine = dragged ? ranks[dragged] : undefined;
              const there = ranks[answer.id] ?? index + 1;
              if (!dragged || dragged === answer.id) return;
              setRanks((before) => ({
                ...before,
                [dragged]: there,
                [answer.id]: mine ?? Math.min(answers.length, there + 1),
              }));
            }}
          >
            <div className="min-h-0 flex-1 overflow-y-auto px-4 py-3" tabIndex={-1}>
              <Markdown text={answer.text} streaming={false} />
            </div>
            <div
              role="radiogroup"
              aria-label={texts.ranking.rankOf(index + 1)}
              className="flex items-center gap-1 border-t border-line p-2"
            >
              {answers.map((_, place) => (
                <button
                  key={place}
                  type="button"
                  role="radio"
                  aria-checked={ranks[answer.id] === place + 1}
                  aria-label={texts.ranking.rank(place + 1)}
                  className="tick min-w-8 justify-center"
                  onClick={() => give(answer.id, place + 1)}
                >
                  {place + 1}
                </button>
              ))}
            </div>
          </article>
        ))}
      </div>
      <div className="mt-4 flex flex-wrap items-center justify-end gap-2">
        <p role="status" className="flex-1 text-[0.9rem] text-muted">
          {isWhole
            ? texts.ranking.order(ranking.map((tier) => tier.map((id) => answers.findIndex((one) => one.id === id) + 1)))
            : texts.ranking.missing(answers.filter((one) => ranks[one.id] === undefined).length)}
        </p>
        <button type="button" className="btn" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button type="button" className="btn btn-main" disabled={!isWhole} onClick={save}>
          {texts.ranking.save}
        </button>
      </div>
    </Dialog>
  );
}
