/** What stands around every page after sign-in: the rail (a drawer on a phone), the line's state. */
import { useQueryClient } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { api, type Me } from "../api";
import { useActions } from "../keys";
import { useConnection } from "../live";
import { useTexts } from "../texts";
import { Icon, Mark } from "../ui/icons";
import { PHONE, useMedia } from "../ui/media";
import { Preferences } from "../ui/preferences";
import { Toasts } from "../ui/toasts";
import { Rail } from "./chat/rail";

const ConsoleTop = lazy(() => import("./console/top"));
const Palette = lazy(() => import("./palette"));
const KeySettings = lazy(() => import("./key-settings"));

interface Props {
  me: Me;
  conversation?: string;
  admin?: boolean;
  children: ReactNode;
}

export function Frame({ me, conversation, admin = false, children }: Props) {
  const texts = useTexts();
  const phone = useMedia(PHONE);
  const [open, setOpen] = useState(false);
  const [over, setOver] = useState<"palette" | "keys" | null>(null);
  const opener = useRef<HTMLButtonElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another page closes the drawer
  useEffect(() => setOpen(false), [conversation, admin]);

  const search = () => setOver("palette");
  const keys = () => setOver("keys");
  useActions({ search, palette: search, keys });

  const close = () => {
    setOpen(false);
    opener.current?.focus();
  };
  const rail = (
    <>
      <div className="flex items-center gap-2.5 px-4 pt-3.5 pb-2.5">
        <Mark className="size-7" />
        <span className="flex-1 text-[1.05rem] font-semibold">{texts.app.name}</span>
        {phone && (
          <button type="button" className="icon-btn" onClick={close} aria-label={texts.frame.closeRail}>
            <Icon name="close" />
          </button>
        )}
      </div>
      <Rail shown={conversation ?? null} onSearch={search} />
      <Foot me={me} admin={admin} onKeys={keys} />
    </>
  );

  return (
    <div className="relative flex h-dvh overflow-hidden">
      <a
        href="#content"
        className="btn btn-main fixed top-2 left-2 z-50 -translate-y-20 focus-visible:translate-y-0"
      >
        {texts.common.skip}
      </a>
      {phone ? (
        open && <Drawer onClose={close}>{rail}</Drawer>
      ) : (
        <nav
          aria-label={texts.frame.conversations}
          className="flex w-70 shrink-0 flex-col border-r border-line bg-sunken"
        >
          {rail}
        </nav>
      )}
      <div className="flex min-w-0 flex-1 flex-col">
        {phone && (
          <header className="flex items-center gap-2 border-b border-line px-2 py-1.5">
            <button
              ref={opener}
              type="button"
              className="icon-btn size-10"
              onClick={() => setOpen(true)}
              aria-label={texts.frame.openRail}
              aria-expanded={open}
            >
              <Icon name="menu" />
            </button>
            <span className="flex-1 font-semibold">{admin ? texts.frame.admin : texts.app.name}</span>
            <Link href="/" className="icon-btn size-10" aria-label={texts.rail.new}>
              <Icon name="plus" />
            </Link>
          </header>
        )}
        <ConnectionLine />
        {admin && (
          <Suspense fallback={null}>
            <ConsoleTop me={me} />
          </Suspense>
        )}
        {children}
      </div>
      <Toasts />
      <Suspense>
        {over === "palette" && <Palette onClose={() => setOver(null)} onKeys={keys} />}
        {over === "keys" && <KeySettings onClose={() => setOver(null)} />}
      </Suspense>
    </div>
  );
}

function Drawer({ onClose, children }: { onClose: () => void; children: ReactNode }) {
  const texts = useTexts();
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (ref.current && !ref.current.open) ref.current.showModal();
  }, []);
  return (
    <dialog
      ref={ref}
      aria-label={texts.frame.conversations}
      onCancel={onClose}
      onClick={(event) => event.target === ref.current && onClose()}
      onKeyDown={(event) => event.key === "Escape" && onClose()}
      className="m-0 h-dvh max-h-none w-[min(19rem,86vw)] border-r border-line bg-sunken p-0"
    >
      <nav aria-label={texts.frame.conversations} className="flex h-full flex-col">
        {children}
      </nav>
    </dialog>
  );
}

function Foot({ me, admin, onKeys }: { me: Me; admin: boolean; onKeys: () => void }) {
  const texts = useTexts();
  const client = useQueryClient();
  const signOut = async () => {
    await api.signOut().catch(() => undefined);
    client.clear();
    location.assign("/login");
  };
  return (
    <div className="flex flex-col gap-2.5 border-t border-line p-3">
      <div className="grid grid-cols-2 gap-2">
        <Link href="/queue" className="btn btn-small">
          {texts.frame.queue}
        </Link>
        <Link href="/mine" className="btn btn-small">
          {texts.frame.mine}
        </Link>
      </div>
      {admin ? (
        <Link href="/" className="btn w-full">
          <Icon name="chat" className="size-4.5" />
          {texts.frame.chat}
        </Link>
      ) : me.may.includes("watch") ? (
        <Link href="/admin" className="btn w-full">
          <Icon name="chart" className="size-4.5" />
          {texts.frame.admin}
        </Link>
      ) : (
        <Link href="/settings" className="btn w-full">
          <Icon name="key" className="size-4.5" />
          {texts.frame.settings}
        </Link>
      )}
      <div className="flex items-center justify-between gap-2">
        <span className="truncate text-[0.9rem] text-muted" title={texts.frame.signedInAs(me.name)}>
          {me.name}
        </span>
        <button
          type="button"
          className="icon-btn ml-auto max-[760px]:hidden"
          onClick={onKeys}
          aria-label={texts.keys.title}
          title={texts.keys.title}
        >
          <Icon name="keyboard" className="size-4.5" />
        </button>
        <button
          type="button"
          className="icon-btn"
          onClick={signOut}
          aria-label={texts.frame.signOut}
          title={texts.frame.signOut}
        >
          <Icon name="out" className="size-4.5" />
        </button>
      </div>
      <Preferences />
    </div>
  );
}

function ConnectionLine() {
  const texts = useTexts();
  const connection = useConnection();
  return (
    <div role="status">
      {connection !== "fine" && (
        <p className="border-b border-line bg-turn-soft px-4 py-1.5 text-center text-[0.9rem] text-turn">
          {connection === "offline" ? texts.frame.offline : texts.frame.reconnecting}
        </p>
      )}
    </div>
  );
}
