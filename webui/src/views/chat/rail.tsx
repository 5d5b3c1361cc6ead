/** The list of conversations: new, open, rename, delete. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useLocation } from "wouter";
import { api, type Conversation } from "../../api";
import { keys, queries } from "../../queries";
import { type Texts, useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";
import { Icon } from "../../ui/icons";
import { Loading, ProblemLine } from "../../ui/notice";

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

export function Rail({ shown }: { shown: string | null }) {
  const texts = useTexts();
  const list = useQuery(queries.conversations);
  const [renaming, setRenaming] = useState<string | null>(null);
  const [deleting, setDeleting] = useState<Conversation | null>(null);
  return (
    <>
      <div className="px-3 pb-2">
        <Link href="/" className="btn btn-main w-full">
          <Icon name="plus" className="size-4.5" />
          {texts.rail.new}
        </Link>
      </div>
      <div
        className="relative min-h-0 flex-1 overflow-y-auto px-2 pb-3"
        tabIndex={0}
        role="group"
        aria-label={texts.frame.conversations}
      >
        {list.isPending && <Loading lines={4} />}
        {list.error && !list.data && <ProblemLine error={list.error} retry={() => void list.refetch()} />}
        {list.data?.items.length === 0 && <p className="px-2 py-3 text-muted">{texts.rail.empty}</p>}
        {grouped(list.data?.items ?? [], texts).map(([name, items]) => (
          <section key={name} aria-label={name} className="mt-2">
            <h2 className="eyebrow px-2 py-1">{name}</h2>
            <ul>
              {items.map((one) =>
                renaming === one.id ? (
                  <Renaming key={one.id} conversation={one} onDone={() => setRenaming(null)} />
                ) : (
                  <Row
                    key={one.id}
                    conversation={one}
                    shown={one.id === shown}
                    onRename={() => setRenaming(one.id)}
                    onDelete={() => setDeleting(one)}
                  />
                ),
              )}
            </ul>
          </section>
        ))}
      </div>
      {deleting && (
        <Deleting conversation={deleting} shown={deleting.id === shown} onDone={() => setDeleting(null)} />
      )}
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
      <span
        className={`flex pr-0.5 ${shown ? "" : "w-0 overflow-hidden group-focus-within:w-auto group-hover:w-auto pointer-coarse:w-auto"}`}
      >
        <button
          type="button"
          className="icon-btn"
          onClick={onRename}
          aria-label={texts.rail.renameOf(title)}
          title={texts.rail.rename}
        >
          <Icon name="pencil" className="size-4" />
        </button>
        <button
          type="button"
          className="icon-btn"
          onClick={onDelete}
          aria-label={texts.rail.deleteOf(title)}
          title={texts.rail.delete}
        >
          <Icon name="trash" className="size-4" />
        </button>
      </span>
    </li>
  );
}

function Renaming({ conversation, onDone }: { conversation: Conversation; onDone: () => void }) {
  const texts = useTexts();
  const client = useQueryClient();
  const rename = useMutation({
    mutationFn: (title: string) => api.change(conversation.id, { title }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.conversations }),
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

function Deleting({
  conversation,
  shown,
  onDone,
}: {
  conversation: Conversation;
  shown: boolean;
  onDone: () => void;
}) {
  const texts = useTexts();
  const client = useQueryClient();
  const [, go] = useLocation();
  const remove = useMutation({
    mutationFn: () => api.remove(conversation.id),
    onSuccess: () => {
      if (shown) go("/");
      void client.invalidateQueries({ queryKey: keys.conversations, exact: true });
      onDone();
    },
  });
  return (
    <Dialog title={texts.rail.deleteTitle} onClose={onDone}>
      <p className="font-medium">{conversation.title || texts.rail.untitled}</p>
      <p className="mt-1 mb-4 text-muted">{texts.rail.deleteHint}</p>
      {remove.error && <ProblemLine error={remove.error} />}
      <div className="mt-3 flex justify-end gap-2">
        <button type="button" className="btn" onClick={onDone}>
          {texts.common.cancel}
        </button>
        <button
          type="button"
          className="btn btn-bad"
          onClick={() => remove.mutate()}
          disabled={remove.isPending}
        >
          {texts.rail.delete}
        </button>
      </div>
    </Dialog>
  );
}
