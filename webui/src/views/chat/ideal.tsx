/** The ideal answer, written from one that is there, with what has changed beside it. */
import { useDeferredValue, useMemo, useRef, useState } from "react";
import type { Answer } from "../../api";
import { diffOf, wordsOf } from "../../diff";
import { outbox, targetOf } from "../../outbox";
import { useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";
import { showToast } from "../../ui/toasts";

export default function IdealAnswer({ answer, onClose }: { answer: Answer; onClose: () => void }) {
  const texts = useTexts();
  const [text, setText] = useState(answer.text);
  const shown = useDeferredValue(text);
  const shownAt = useRef(performance.now());
  const pieces = useMemo(() => diffOf(wordsOf(answer.text), wordsOf(shown)), [answer.text, shown]);
  const isNew = text.trim() !== "" && text.trim() !== answer.text.trim();
  const save = () => {
    if (!isNew) return;
    const shown_ms = Math.round(performance.now() - shownAt.current);
    const vote = { kind: "edit" as const, answer_id: answer.id, text: text.trim(), shown_ms };
    outbox.cast(vote);
    const undo = () => outbox.undo(targetOf(vote));
    showToast({ text: texts.ideal.saved, action: { label: texts.common.undo, run: undo } });
    onClose();
  };
  return (
    <Dialog title={texts.ideal.title} onClose={onClose} wide>
      <p className="mb-3 text-muted">{texts.ideal.hint}</p>
      <div className="grid gap-3 md:grid-cols-2">
        <textarea
          className="field h-[46vh] resize-none leading-relaxed max-[760px]:h-[30vh]"
          aria-label={texts.ideal.title}
          value={text}
          maxLength={100_000}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
          }}
        />
        <div
          role="group"
          aria-label={texts.ideal.changes}
          tabIndex={0}
          className="h-[46vh] overflow-y-auto rounded-lg bg-sunken px-3 py-2 leading-relaxed wrap-anywhere whitespace-pre-wrap max-[760px]:h-[24vh]"
        >
          {pieces.map(({ kind, text: said }, index) =>
            kind === "same" ? (
              said
            ) : kind === "gone" ? (
              <del key={index}>{said}</del>
            ) : (
              <ins key={index}>{said}</ins>
            ),
          )}
        </div>
      </div>
      <div className="mt-4 flex flex-wrap justify-end gap-2">
        <button type="button" className="btn" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button type="button" className="btn btn-main" disabled={!isNew} onClick={save}>
          {texts.ideal.save}
        </button>
      </div>
    </Dialog>
  );
}
