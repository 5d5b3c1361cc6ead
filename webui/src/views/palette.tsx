/** Search and commands in one list: type, arrows, Enter. */
import { useQuery } from "@tanstack/react-query";
import { type KeyboardEvent, useDeferredValue, useEffect, useId, useRef, useState } from "react";
import { useLocation } from "wouter";
import { capOf, useKeys } from "../keys";
import { queries } from "../queries";
import { LANGUAGES, setLanguage, useLanguage, useTexts } from "../texts";
import { setTheme, useShownTheme } from "../theme";
import { Icon, type IconName } from "../ui/icons";
import { problemText } from "../ui/notice";

interface Entry {
  id: string;
  icon: IconName;
  label: string;
  detail?: string | null;
  cap?: string;
  run: () => void;
}

export default function Palette({ onClose, onKeys }: { onClose: () => void; onKeys: () => void }) {
  const texts = useTexts();
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useId();
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const wanted = useDeferredValue(words.trim());
  const found = useQuery({ ...queries.search(wanted), enabled: wanted !== "" });
  const commands = useCommands(onKeys);
  const [, go] = useLocation();
  useEffect(() => {
    if (dialog.current && !dialog.current.open) dialog.current.showModal();
  }, []);

  const matching = commands.filter((one) => one.label.toLowerCase().includes(wanted.toLowerCase()));
  const hits: Entry[] = (wanted ? (found.data?.items ?? []) : []).map(({ conversation, excerpt }) => ({
    id: conversation.id,
    icon: "chat",
    label: conversation.title || texts.rail.untitled,
    detail: excerpt,
    run: () => go(`/c/${conversation.id}`),
  }));
  const entries = [...hits, ...matching];
  const chosen = Math.min(at, entries.length - 1);
  const run = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    entry.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && entries.length) setAt((chosen + step + entries.length) % entries.length);
    else if (event.key === "Enter" && !event.nativeEvent.isComposing) run(entries[chosen]);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    document.getElementById(`${list}-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }, [chosen, list]);
  return (
    <dialog
      ref={dialog}
      aria-label={texts.palette.title}
      onCancel={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
      className="card arrive mx-auto mt-[12vh] mb-auto w-[min(38rem,calc(100vw-1.5rem))] overflow-hidden p-0 shadow-(--shadow)"
    >
      <div className="flex items-center gap-2.5 border-b border-line px-4">
        <Icon name="search" className="size-4.5 text-muted" />
        <input
          role="combobox"
          aria-expanded="true"
          aria-controls={list}
          aria-activedescendant={entries.length ? `${list}-${chosen}` : undefined}
          aria-label={texts.palette.title}
          className="min-h-12 min-w-0 flex-1 bg-transparent text-[1.05rem] outline-none"
          placeholder={texts.palette.placeholder}
          value={words}
          maxLength={200}
          onChange={(event) => {
            setWords(event.target.value);
            setAt(0);
          }}
          onKeyDown={onKeyDown}
        />
      </div>
      <div id={list} role="listbox" aria-label={texts.palette.title} className="max-h-[52vh] overflow-y-auto p-1.5">
        {entries.map((entry, index) => (
          <div
            key={entry.id}
            id={`${list}-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === chosen}
            className={`flex min-h-10 cursor-pointer items-center gap-2.5 rounded-lg px-2.5 py-1 ${index === chosen ? "bg-hover" : ""}`}
            onPointerMove={() => setAt(index)}
            onClick={() => run(entry)}
            onKeyDown={() => undefined}
          >
            <Icon name={entry.icon} className="size-4.5 text-muted" />
            <span className="min-w-0 flex-1">
              <span className="block truncate">{entry.label}</span>
              {entry.detail && <span className="block truncate text-[0.87rem] text-muted">{entry.detail}</span>}
            </span>
            {entry.cap && (
              <span className="key text-muted" aria-hidden="true">
                {entry.cap}
              </span>
            )}
          </div>
        ))}
      </div>
      <p role="status" className="border-t border-line px-4 py-2 text-[0.87rem] text-muted empty:hidden">
        {found.error && wanted
          ? problemText(found.error, texts)
          : wanted && !found.isFetching
            ? texts.palette.found(hits.length)
            : texts.palette.hint}
      </p>
    </dialog>
  );
}

function useCommands(onKeys: () => void): Entry[] {
  const texts = useTexts();
  const keys = useKeys();
  const shown = useShownTheme();
  const language = useLanguage();
  const [, go] = useLocation();
  const others = (Object.keys(LANGUAGES) as (keyof typeof LANGUAGES)[]).filter((one) => one !== language);
  return [
    { id: "new", icon: "plus", label: texts.rail.new, cap: capOf(keys.newChat), run: () => go("/") },
    { id: "keys", icon: "keyboard", label: texts.keys.title, cap: capOf(keys.keys), run: onKeys },
    {
      id: "theme",
      icon: "theme",
      label: shown === "dark" ? texts.palette.light : texts.palette.dark,
      run: () => setTheme(shown === "dark" ? "light" : "dark"),
    },
    ...others.map(
      (one): Entry => ({
        id: one,
        icon: "language",
        label: LANGUAGES[one],
        run: () => void setLanguage(one),
      }),
    ),
  ];
}
