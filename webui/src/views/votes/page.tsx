/** The vote explorer: find votes, look at one, take votes out of training, export what was found. */
import { keepPreviousData, useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { type FormEvent, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useLocation, useSearch } from "wouter";
import type { Me } from "../../api";
import { useKeysOff } from "../../keys";
import { useTexts } from "../../texts/explorer";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine, problemText } from "../../ui/notice";
import { showToast } from "../../ui/toasts";
import { useBlur } from "./blur";
import { type Chosen, explorer, type ReviewChoice } from "./calls";
import { Detail, REVIEW_KEYS, useReview } from "./detail";
import { ExportDialog, ImportDialog } from "./exchange";
import { ExcludeDialog, RestoreDialog } from "./exclude";
import { Facets } from "./facets";
import { Grid } from "./grid";
import { tidy } from "./query";
import { Views } from "./saved";
import "./votes.css";

type Asking = "export" | "import" | { change: "exclude" | "restore"; of: Chosen } | null;

export default function VotesPage({ me }: { me: Me }) {
  const page = useTexts();
  const texts = page.votes;
  const reviews = me.role === "admin" || me.role === "reviewer";
  const trains = me.role === "admin" || me.role === "engineer";
  const [{ query, opened }, go] = useAddress();
  const found = useInfiniteQuery({
    queryKey: ["votes", query],
    queryFn: ({ pageParam }) => explorer.find(query, pageParam),
    initialPageParam: null as number | null,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
  const first = found.data?.pages[0];
  const rows = useMemo(() => found.data?.pages.flatMap((page) => page.items) ?? [], [found.data]);
  const [active, setActive] = useState(0);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [asking, setAsking] = useState<Asking>(null);
  const [filters, setFilters] = useState(false);
  const [differences, setDifferences] = useState(false);
  const [blurred, turnBlur] = useBlur();
  const askOthers = useMutation({
    mutationFn: explorer.askOthers,
    onSuccess: () => showToast({ text: texts.inQueue }),
    onError: (error) => showToast({ text: problemText(error, page) }),
  });
  const [list, panel, search] = [
    useRef<HTMLDivElement>(null),
    useRef<HTMLElement>(null),
    useRef<HTMLInputElement>(null),
  ];
  const review = useReview(opened);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another search starts at its top, nothing chosen
  useEffect(() => {
    setActive(0);
    setChosen(new Set());
    if (list.current) list.current.scrollTop = 0;
  }, [query]);
  const more = useCallback(() => {
    if (found.hasNextPage && !found.isFetching) void found.fetchNextPage();
  }, [found.hasNextPage, found.isFetching, found.fetchNextPage]);
  const open = (index: number) => {
    const row = rows[index];
    if (!row) return;
    setActive(index);
    go({ opened: row.id });
  };
  const choose = (id: string) =>
    setChosen((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  const target = rows[active];
  const picked: Chosen | null =
    chosen.size > 0
      ? { ids: [...chosen] }
      : opened
        ? { ids: [opened] }
        : target
          ? { ids: [target.id] }
          : null;
  const openedRow = rows.find((row) => row.id === opened);

  const down = () => setActive(Math.min(rows.length - 1, active + 1));
  const up = () => setActive(Math.max(0, active - 1));
  const toList = () =>
    list.current?.querySelector<HTMLElement>("[role=grid]")?.focus({ preventScroll: true });
  const close = () => {
    go({ opened: null });
    // On a phone the list is there only once the vote is gone.
    if (panel.current?.contains(document.activeElement)) requestAnimationFrame(toList);
  };
  const back = () => (opened ? close() : setChosen(new Set()));
  const read = () => {
    if (!opened) open(active);
    requestAnimationFrame(() => panel.current?.focus());
  };
  const judge = (choice: ReviewChoice) => reviews && openedRow?.kind === "duel" && review.mutate(choice);
  const change = (what: "exclude" | "restore", of: Chosen | null) =>
    reviews && of && setAsking({ change: what, of });
  const changed = () => {
    setAsking(null);
    setChosen(new Set());
  };
  useKeys(asking === null && !found.isPlaceholderData, [
    ["j", down],
    ["ArrowDown", down],
    ["k", up],
    ["ArrowUp", up],
    ["Enter", () => open(active)],
    ["x", () => target && choose(target.id)],
    ["e", () => change("exclude", picked)],
    ["u", () => change("restore", picked)],
    ["r", () => reviews && picked && "ids" in picked && askOthers.mutate(opened ?? picked.ids[0] ?? "")],
    ["b", turnBlur],
    ["d", () => setDifferences(!differences)],
    ["o", read],
    ["Escape", back],
    ["/", () => search.current?.focus()],
    ...Object.entries(REVIEW_KEYS).map(([key, choice]): Key => [key, () => judge(choice)]),
  ]);

  return (
    <main id="content" className="flex min-h-0 flex-1 flex-col">
      <div className="flex flex-wrap items-center gap-2 border-b border-line px-4 py-2.5">
        <h1 className="mr-1 text-[1.15rem] font-semibold">{texts.title}</h1>
        <Search input={search} query={query} onQuery={(next) => go({ query: next })} onLeave={toList} />
        <Views query={query} onQuery={(next) => go({ query: next })} />
        <button
          type="button"
          className="btn min-[1101px]:hidden"
          aria-expanded={filters}
          onClick={() => setFilters(!filters)}
        >
          {filters ? texts.showVotes : texts.filters}
        </button>
        <button
          type="button"
          className={`btn ${blurred ? "bg-accent-soft text-accent" : ""}`}
          aria-pressed={blurred}
          aria-keyshortcuts="B"
          title={texts.blurHint}
          onClick={turnBlur}
        >
          {texts.blur}
        </button>
        {trains && (
          <button type="button" className="btn" onClick={() => setAsking("import")}>
            {texts.import}
          </button>
        )}
        <button
          type="button"
          className="btn btn-main"
          disabled={!first?.total}
          onClick={() => setAsking("export")}
        >
          {texts.export}
        </button>
      </div>
      <Summary
        total={first?.total}
        of={first?.of}
        chosen={chosen.size}
        onAll={reviews ? () => change("exclude", picked) : null}
        onNone={() => setChosen(new Set())}
      />
      <div className="explorer" data-detail={opened !== null} data-blurred={blurred}>
        <aside className="facets" data-open={filters} aria-label={texts.filters} tabIndex={0}>
          <Facets found={first} query={query} onQuery={(next) => go({ query: next })} />
        </aside>
        <div ref={list} aria-busy={found.isPlaceholderData}>
          {found.isPending && <Loading lines={8} />}
          {found.error && (
            <div className="p-4">
              <ProblemLine error={found.error} retry={() => void found.refetch()} />
            </div>
          )}
          {first && first.total === 0 && !found.error && (
            <Empty
              title={first.of === 0 ? texts.none : texts.nothing}
              hint={first.of === 0 ? texts.noneHint : texts.nothingHint}
            >
              {first.of === 0 ? null : (
                <button type="button" className="btn mt-2" onClick={() => go({ query: "" })}>
                  {texts.clear}
                </button>
              )}
            </Empty>
          )}
          {first && first.total > 0 && (
            <Grid
              scroller={list}
              rows={rows}
              total={first.total}
              active={active}
              opened={opened}
              chosen={chosen}
              onOpen={open}
              onChoose={choose}
              onNearEnd={more}
            />
          )}
        </div>
        {opened && (
          <Detail
            id={opened}
            panel={panel}
            reviews={reviews}
            differences={differences}
            onDifferences={() => setDifferences(!differences)}
            onClose={close}
            onExclude={() => change("exclude", { ids: [opened] })}
            onRestore={() => change("restore", { ids: [opened] })}
            onAsk={() => askOthers.mutate(opened)}
            onOpen={(id) => go({ opened: id })}
          />
        )}
      </div>
      {typeof asking === "object" && asking?.change === "exclude" && (
        <ExcludeDialog chosen={asking.of} onClose={() => setAsking(null)} onDone={changed} />
      )}
      {typeof asking === "object" && asking?.change === "restore" && (
        <RestoreDialog chosen={asking.of} onClose={() => setAsking(null)} onDone={changed} />
      )}
      {asking === "export" && first && (
        <ExportDialog query={query} total={first.total} onClose={() => setAsking(null)} />
      )}
      {asking === "import" && <ImportDialog onClose={() => setAsking(null)} />}
    </main>
  );
}

interface SearchProps {
  input: React.RefObject<HTMLInputElement | null>;
  query: string;
  onQuery: (query: string) => void;
  onLeave: () => void;
}

function Search({ input, query, onQuery, onLeave }: SearchProps) {
  const texts = useTexts().votes;
  const [typed, setTyped] = useState(query);
  useEffect(() => setTyped(query), [query]);
  const leave = (event: React.KeyboardEvent) => {
    if (event.key !== "Escape" || event.nativeEvent.isComposing) return;
    event.preventDefault(); // the browser would empty the field, and the list below would still be searched
    setTyped(query);
    onLeave();
  };
  const clear = () => {
    onQuery("");
    input.current?.focus();
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onQuery(tidy(typed));
  };
  return (
    <form role="search" onSubmit={submit} className="flex min-w-56 flex-1 items-center gap-1">
      <input
        ref={input}
        type="search"
        className="field min-h-9 py-1"
        aria-label={texts.search}
        placeholder={texts.placeholder}
        title={texts.searchHint}
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        onKeyDown={leave}
      />
      {query && (
        <button type="button" className="icon-btn" aria-label={texts.clear} onClick={clear}>
          <Icon name="close" />
        </button>
      )}
    </form>
  );
}

interface SummaryProps {
  total: number | undefined;
  of: number | undefined;
  chosen: number;
  onAll: (() => void) | null;
  onNone: () => void;
}

function Summary({ total, of, chosen, onAll, onNone }: SummaryProps) {
  const texts = useTexts().votes;
  if (total === undefined || of === undefined) return null;
  return (
    <div className="flex min-h-10 flex-wrap items-center gap-3 border-b border-line bg-sunken px-4 py-1 text-[0.9rem]">
      <p role="status" className="flex-1 text-muted">
        {chosen > 0 ? texts.chosenN(chosen) : texts.found(total, of)}
      </p>
      {chosen > 0 && (
        <>
          {onAll && (
            <button type="button" className="btn btn-bad btn-small" onClick={onAll}>
              {texts.exclude}
              <span className="key">E</span>
            </button>
          )}
          <button type="button" className="btn btn-small" onClick={onNone}>
            {texts.chooseNone}
          </button>
        </>
      )}
      <p className="text-muted max-lg:hidden">{texts.keys}</p>
    </div>
  );
}

interface Address {
  query: string;
  opened: string | null;
}

/** The search and the open vote are in the address: a link shows what its sender saw. */
function useAddress(): [Address, (change: Partial<Address>) => void] {
  const search = useSearch();
  const [path, navigate] = useLocation();
  const values = new URLSearchParams(search);
  const now: Address = { query: values.get("q") ?? "", opened: values.get("vote") };
  const go = (change: Partial<Address>) => {
    const next = { ...now, ...change };
    const to = new URLSearchParams();
    if (next.query) to.set("q", next.query);
    if (next.opened) to.set("vote", next.opened);
    const text = to.toString();
    navigate(text ? `${path}?${text}` : path, { replace: next.query === now.query });
  };
  return [now, go];
}

type Key = [name: string, act: () => unknown];

/** Single keys, while nobody types and no dialog is open; letters and signs only where they are not off. */
function useKeys(on: boolean, does: Key[]) {
  const now = useRef(does);
  now.current = does;
  const off = useKeysOff();
  useEffect(() => {
    if (!on) return;
    const press = (event: KeyboardEvent) => {
      const at = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || at.closest("input, textarea, select, dialog"))
        return;
      if (event.key === "Enter" && at.closest("button, a, summary")) return;
      if (off && event.key.length === 1) return;
      const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const found = now.current.find(([name]) => name === pressed);
      if (!found) return;
      event.preventDefault();
      found[1]();
    };
    // Before the keys of the whole page: here `/` searches votes.
    addEventListener("keydown", press, { capture: true });
    return () => removeEventListener("keydown", press, { capture: true });
  }, [on, off]);
}
