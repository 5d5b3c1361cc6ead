/** The list of conversations: new, search, open, rename, export, delete with a way back, import. */
import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { type ChangeEvent, type FormEvent, useRef, useState } from "react";
import { Link, useLocation } from "wouter";
import { api, type Conversation } from "../../api";
import { capOf, useActions, useKeys } from "../../keys";
import { queries, refreshConversations } from "../../queries";
import { type Texts, useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import { Menu, type MenuItem } from "../../ui/menu";
import { Loading, ProblemLine, problemText } from "../../ui/notice";
import { showToast } from "../../ui/toasts";

const DAY_MS = 86_400_000;

function grouped(items: Conversation[], texts: Texts, now = Date.now()): [string, Conversation[]][] {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const groups: [string, (at: number) => boolean][] = [
    [texts.rail.today, (at) => at >= midnight],
    [texts.rail.week, (at) => at < midnight && at >= midnight - 6 * DAY_MS],
    [texts.rail.older, (at) => at < midnight - 6 * DAY_MS],
  ];
  return groups
    .map(([name, holds]): [string, Conversation[]] => [
      name,
      items.filter((one) => holds(Date.parse(one.updated_at))),
    ])
    .filter(([, found]) => found.length > 0);
}

export function Rail({ shown, onSearch }: { shown: string | null; onSearch: () => void }) {
  const texts = useTexts();
  const keys = useKeys();
  const [, go] = useLocation();
  const list = useInfiniteQuery(queries.list);
  const items = list.data?.pages.flatMap((page) => page.items) ?? [];
  const [renaming, setRenaming] = useState<string | null>(null);
  const remove = useDelete(shown);
  useActions({ newChat: () => go("/") });
  return (
    <>
      <div className="flex gap-2 px-3 pb-2">
        <Link href="/" className="btn btn-main flex-1">
          <Icon name="plus" className="size-4.5" />
          {texts.rail.new}
        </Link>
        <Import />
      </div>
      <div className="px-3 pb-1">
        <button
          type="button"
          className="flex min-h-8 w-full items-center gap-2 rounded-lg border border-line bg-surface px-2.5 text-[0.92rem] text-muted hover:bg-hover"
          aria-keyshortcuts={`${keys.search} ${keys.palette}`}
          onClick={onSearch}
        >
          <Icon name="search" className="size-4" />
          <span className="flex-1 text-left">{texts.rail.search}</span>
          <span className="key" aria-hidden="true">
            {capOf(keys.search)}
          </span>
        </button>
      </div>
      <div
        className="relative min-h-0 flex-1 overflow-y-auto px-2 pb-3"
        tabIndex={0}
        role="group"
        aria-label={texts.frame.conversations}
      >
        {list.isPending && <Loading lines={4} />}
        {list.error && !list.data && <ProblemLine error={list.error} retry={() => void list.refetch()} />}
        {list.data && items.length === 0 && <p className="px-2 py-3 text-muted">{texts.rail.empty}</p>}
        {grouped(items, texts).map(([name, found]) => (
          <section key={name} aria-label={name} className="mt-2">
            <h2 className="eyebrow px-2 py-1">{name}</h2>
            <ul>
              {found.map((one) =>
                renaming === one.id ? (
                  <Renaming key={one.id} conversation={one} onDone={() => setRenaming(null)} />
                ) : (
                  <Row
                    key={one.id}
                    conversation={one}
                    shown={one.id === shown}
                    onRename={() => setRenaming(one.id)}
                    onDelete={() => remove.mutate(one)}
                  />
                ),
              )}
            </ul>
          </section>
        ))}
        {list.hasNextPage && (
          <button
            type="button"
            className="btn btn-small mt-2 ml-2"
            disabled={list.isFetchingNextPage}
            onClick={() => void list.fetchNextPage()}
          >
            {texts.rail.more}
          </button>
        )}
      </div>
    </>
  );
}

interface RowProps {
  conversation: Conversation;
  shown: boolean;
  onRename: () => void;
  onDelete: () => void;
}

function Row({ conversation, shown, onRename, onDelete }: RowProps) {
  const texts = useTexts();
  const title = conversation.title || texts.rail.untitled;
  const items: MenuItem[] = [
    { label: texts.rail.rename, icon: "pencil", run: onRename },
    { label: texts.rail.asMarkdown, icon: "download", href: api.exportLink(conversation.id, "markdown") },
    { label: texts.rail.asJson, icon: "download", href: api.exportLink(conversation.id, "json") },
    { label: texts.rail.delete, icon: "trash", run: onDelete, isBad: true },
  ];
  return (
    <li
      className={`group flex items-center rounded-lg ${shown ? "bg-surface shadow-[0_0_0_1px_var(--line)]" : "hover:bg-hover"}`}
    >
      <Link
        href={`/c/${conversation.id}`}
        className={`min-w-0 flex-1 truncate rounded-lg px-2 py-1.5 ${shown ? "font-medium" : ""}`}
        aria-current={shown ? "page" : undefined}
        title={title}
      >
        {title}
      </Link>
      <Menu
        label={texts.rail.actionsOf(title)}
        items={items}
        className={`icon-btn mr-0.5 ${shown ? "" : "opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 aria-expanded:opacity-100 pointer-coarse:opacity-100"}`}
      >
        <Icon name="more" className="size-4" />
      </Menu>
    </li>
  );
}

function Renaming({ conversation, onDone }: { conversation: Conversation; onDone: () => void }) {
  const texts = useTexts();
  const client = useQueryClient();
  const rename = useMutation({
    mutationFn: (title: string) => api.change(conversation.id, { title }),
    onSuccess: () => refreshConversations(client),
    onError: (error) => showToast({ text: problemText(error, texts) }),
    onSettled: onDone,
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const title = String(new FormData(event.currentTarget).get("title")).trim();
    if (title && title !== conversation.title) rename.mutate(title);
    else onDone();
  };
  return (
    <li>
      <form onSubmit={submit} className="flex gap-1 p-1">
        <input
          name="title"
          className="field min-h-8 py-0.5"
          defaultValue={conversation.title}
          aria-label={texts.rail.title}
          maxLength={80}
          // biome-ignore lint/a11y/noAutofocus: the person just asked to type here
          autoFocus
          onFocus={(event) => event.target.select()}
          onKeyDown={(event) => event.key === "Escape" && onDone()}
        />
        <button type="submit" className="icon-btn" aria-label={texts.common.save} disabled={rename.isPending}>
          <Icon name="check" />
        </button>
      </form>
    </li>
  );
}

/** Deletes at once and offers the way back: the server keeps the texts for a minute. */
function useDelete(shown: string | null) {
  const texts = useTexts();
  const client = useQueryClient();
  const [, go] = useLocation();
  const failed = (error: unknown) => showToast({ text: problemText(error, texts) });
  const restore = useMutation({
    mutationFn: (conversation: Conversation) => api.restore(conversation.id),
    onSuccess: () => refreshConversations(client),
    onError: failed,
  });
  return useMutation({
    mutationFn: (conversation: Conversation) => api.remove(conversation.id),
    onSuccess: (_, conversation) => {
      const wasShown = conversation.id === shown;
      if (wasShown) go("/");
      void refreshConversations(client);
      const undo = () =>
        restore.mutate(conversation, { onSuccess: () => wasShown && go(`/c/${conversation.id}`) });
      showToast({
        text: texts.rail.deleted(conversation.title || texts.rail.untitled),
        action: { label: texts.common.undo, run: undo },
      });
    },
    onError: failed,
  });
}

/** Takes conversations in from files: Heed's own, OpenAI's messages, ShareGPT; JSON or one JSON a line. */
function Import() {
  const texts = useTexts();
  const client = useQueryClient();
  const [, go] = useLocation();
  const field = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const take = async (event: ChangeEvent<HTMLInputElement>) => {
    const files = [...(event.target.files ?? [])];
    event.target.value = "";
    setBusy(true);
    const { importFiles } = await import("./import-files");
    const done = await importFiles(files, api.importOne);
    setBusy(false);
    await refreshConversations(client);
    if (done.taken[0] && !done.problem) go(`/c/${done.taken[0].id}`);
    const refusal = done.problem === null ? "" : ` ${problemText(done.problem, texts)}`;
    showToast({ text: texts.rail.imported(done.taken.length, done.refused) + refusal });
  };
  return (
    <>
      <button
        type="button"
        className="btn px-2.5"
        aria-label={texts.rail.import}
        title={texts.rail.importHint}
        disabled={busy}
        onClick={() => field.current?.click()}
      >
        <Icon name="upload" className="size-4.5" />
      </button>
      <input
        ref={field}
        type="file"
        multiple
        hidden
        accept=".json,.jsonl,application/json"
        aria-label={texts.rail.import}
        onChange={(event) => void take(event)}
      />
    </>
  );
}
