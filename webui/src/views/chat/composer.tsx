/** Where one writes: Enter sends, Shift+Enter breaks the line, Escape stops what streams or leaves the text. */
import { type KeyboardEvent, useEffect, useRef, useState } from "react";
import type { Mode } from "../../api";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import { draftOf, keepDraft } from "./drafts";

interface Props {
  id: string | null;
  onSend: (text: string) => void;
  onStop: () => void;
  sending: boolean;
  streaming: boolean;
  /** A duel waits for its vote: the branch that the message would go on from is not decided. */
  blocked: boolean;
  /** Opens the last message for editing; undefined when there is none. */
  onEditLast?: () => void;
  mode: Mode;
  onMode: (mode: Mode) => void;
  systemPrompt: string;
  onSystemPrompt: () => void;
  /** A message that no answer came to: it is written here again, unless something else is. */
  returned: string | null;
}

export function Composer(props: Props) {
  const { id, onSend, onStop, onEditLast, sending, streaming, blocked, mode, onMode } = props;
  const { systemPrompt, onSystemPrompt, returned } = props;
  const texts = useTexts();
  const [text, setText] = useState(() => draftOf(id));
  const [reminded, setReminded] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const ready = text.trim() !== "" && !sending && !streaming && !blocked;

  // biome-ignore lint/correctness/useExhaustiveDependencies: its height follows its text
  useEffect(() => {
    const box = field.current;
    if (!box) return;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 240)}px`;
  }, [text]);
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, []);
  useEffect(() => {
    if (!blocked) setReminded(false);
  }, [blocked]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: given back once, and left alone then
  useEffect(() => {
    if (returned !== null && !text.trim()) write(returned);
  }, [returned]);

  const write = (value: string) => {
    setText(value);
    keepDraft(id, value);
  };
  const send = () => {
    if (blocked && text.trim()) setReminded(true);
    if (!ready) return;
    onSend(text.trim());
    write("");
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "ArrowUp" && !text && onEditLast) {
      event.preventDefault();
      return onEditLast();
    }
    // Out of the text, so that plain keys act again; while an answer streams, Escape stops it.
    if (event.key === "Escape" && !streaming && !event.nativeEvent.isComposing)
      return document.getElementById("thread")?.focus();
    // While an input method composes, Enter picks a word.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className="card mx-auto w-full max-w-190 px-3 pt-2.5 pb-2 focus-within:border-accent"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <label htmlFor="composer" className="sr-only">
        {texts.chat.composer}
      </label>
      <textarea
        ref={field}
        id="composer"
        rows={1}
        value={text}
        onChange={(event) => write(event.target.value)}
        onKeyDown={onKeyDown}
        placeholder={blocked ? texts.chat.placeholderVote : texts.chat.placeholder}
        className="block w-full resize-none bg-transparent px-1 py-1 outline-none"
        maxLength={100_000}
      />
      <div className="mt-1 flex items-center gap-2">
        <label className="flex items-center gap-1.5 text-[0.87rem] text-muted">
          <span className="max-[760px]:hidden">{texts.chat.mode}</span>
          <span className="min-[761px]:hidden" aria-hidden="true">
            {texts.chat.modeShort}
          </span>
          <select
            aria-label={texts.chat.mode}
            className="min-h-7 rounded-md bg-transparent px-1 text-ink hover:bg-hover"
            value={mode}
            onChange={(event) => onMode(event.target.value as Mode)}
          >
            {(["auto", "duel", "single"] as const).map((one) => (
              <option key={one} value={one} className="bg-surface">
                {texts.chat.modes[one]}
              </option>
            ))}
          </select>
        </label>
        <button
          type="button"
          className={`max-w-44 truncate rounded-md px-1.5 py-0.5 text-[0.87rem] hover:bg-hover ${systemPrompt ? "bg-accent-soft text-accent" : "text-muted"}`}
          title={systemPrompt || texts.system.title}
          onClick={onSystemPrompt}
        >
          {systemPrompt ? texts.system.chip(systemPrompt) : texts.system.add}
        </button>
        <span
          role="status"
          className="flex-1 truncate text-right text-[0.85rem] text-muted max-[760px]:hidden"
        >
          {reminded ? (
            <span className="text-turn">{texts.chat.voteFirst}</span>
          ) : streaming ? (
            texts.chat.stopHint
          ) : (
            texts.chat.keysHint
          )}
        </span>
        <span className="min-[761px]:hidden flex-1" />
        {streaming ? (
          <button
            type="button"
            className="btn size-9 shrink-0 px-0"
            onClick={onStop}
            aria-label={texts.chat.stop}
            title={texts.chat.stop}
          >
            <Icon name="stop" className="size-4.5" />
          </button>
        ) : (
          <button
            type="submit"
            className="btn btn-main size-9 shrink-0 px-0"
            disabled={!ready}
            aria-label={texts.chat.send}
            title={texts.chat.send}
          >
            <Icon name="send" className="size-4.5" />
          </button>
        )}
      </div>
    </form>
  );
}
