/** Search and commands in one list: type, arrows, Enter. */
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import {
  type KeyboardEvent,
  useDeferredValue,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { useLocation } from "wouter";
import { capOf, useKeys } from "../keys";
import { queries } from "../queries";
import { LANGUAGES, setLanguage, useLanguage, useTexts } from "../texts";
import { setTheme, useShownTheme } from "../theme";
import { Icon, type IconName } from "../ui/icons";
import { problemText } from "../ui/notice";
import { setFollows, useFollows } from "./chat/follow";
import { PAGES } from "./console/pages";

/** So many hits are looked for unasked. */
const ENOUGH = 30;

interface Entry {
  id: string;
  icon: IconName;
  label: string;
  detail?: string | null;
  cap?: string;
  /** The list stays open. */
  stays?: boolean;
  run: () => void;
}

export default function Palette({ onClose, onKeys }: { onClose: () => void; onKeys: () => void }) {
  const texts = useTexts();
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useId();
  const [words, setWords] = useState("");
  const [at, setAt] = useState(0);
  const wanted = useDeferredValue(words.trim());
  const found = useInfiniteQuery({ ...queries.search(wanted), enabled: wanted !== "" });
  const pages = wanted ? (found.data?.pages ?? []) : [];
  // A conversation that changed between two pages is in both.
  const hits = [
    ...new Map(pages.flatMap((page) => page.items).map((one) => [one.conversation.id, one])).values(),
  ];
  const { hasNextPage, isFetching, isPlaceholderData, fetchNextPage } = found;
  const canGoOn = wanted !== "" && hasNextPage && !isFetching && !isPlaceholderData && !found.error;
  const goesOn = canGoOn && hits.length < ENOUGH;
  useEffect(() => {
    if (goesOn) void fetchNextPage();
  }, [goesOn, fetchNextPage]);
  const commands = useCommands(onKeys);
  const [, go] = useLocation();
  useLayoutEffect(() => {
    const box = dialog.current;
    if (box && !box.open) box.showModal();
    return () => box?.close();
  }, []);

  const matching = commands.filter((one) => one.label.toLowerCase().includes(wanted.toLowerCase()));
  const talks = hits.map(
    ({ conversation, excerpt }): Entry => ({
      id: conversation.id,
      icon: "chat",
      label: conversation.title || texts.rail.untitled,
      detail: excerpt,
      run: () => go(`/c/${conversation.id}`),
    }),
  );
  const further: Entry = {
    id: "further",
    icon: "search",
    label: texts.palette.further,
    stays: true,
    run: () => void fetchNextPage(),
  };
  const entries = [...talks, ...(canGoOn && !goesOn ? [further] : []), ...matching];
  const chosen = Math.min(at, entries.length - 1);
  const run = (entry: Entry | undefined) => {
    if (!entry) return;
    if (!entry.stays) onClose();
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
      onPointerDown={(event) => event.target === dialog.current && onClose()}
      className="card arrive mx-auto mt-[12vh] mb-auto w-[min(38rem,calc(100vw-1.5rem))] overflow-hidden p-0 shadow-(--shadow)"
    >
      <div className="flex items-center gap-2.5 border-b border-line px-4 focus-within:border-accent">
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
      <div
        id={list}
        role="listbox"
        aria-label={texts.palette.title}
        className="max-h-[52vh] overflow-y-auto p-1.5"
      >
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
              {entry.detail && (
                <span className="block truncate text-[0.87rem] text-muted">{entry.detail}</span>
              )}
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
          : !wanted || pages.length === 0
            ? texts.palette.hint
            : hasNextPage
              ? texts.palette.looking(hits.length, pages.at(-1)?.next ?? 0, pages.at(-1)?.of ?? 0)
              : texts.palette.found(hits.length)}
      </p>
    </dialog>
  );
}

function useCommands(onKeys: () => void): Entry[] {
  const texts = useTexts();
  const keys = useKeys();
  const shown = useShownTheme();
  const language = useLanguage();
  const follows = useFollows();
  const me = useQuery(queries.me);
  const pages = PAGES.filter(([, , needs]) => me.data?.may.includes(needs));
  const [, go] = useLocation();
  const others = (Object.keys(LANGUAGES) as (keyof typeof LANGUAGES)[]).filter((one) => one !== language);
  return [
    { id: "new", icon: "plus", label: texts.rail.new, cap: capOf(keys.newChat), run: () => go("/") },
    { id: "queue", icon: "rank", label: texts.frame.queue, run: () => go("/queue") },
    { id: "mine", icon: "check", label: texts.frame.mine, run: () => go("/mine") },
    ...pages.map(
      ([path, name]): Entry => ({ id: path, icon: "chart", label: texts.nav[name], run: () => go(path) }),
    ),
    { id: "keys", icon: "keyboard", label: texts.keys.title, cap: capOf(keys.keys), run: onKeys },
    {
      id: "theme",
      icon: "theme",
      label: shown === "dark" ? texts.palette.light : texts.palette.dark,
      run: () => setTheme(shown === "dark" ? "light" : "dark"),
    },
    {
      id: "follow",
      icon: "unfold",
      label: follows ? texts.palette.still : texts.palette.follow,
      cap: capOf(keys.follow),
      run: () => setFollows(!follows),
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
