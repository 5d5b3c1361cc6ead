/** A button with a short menu: the browser's own popover, so nothing cuts it off and Escape closes it. */
import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { Icon, type IconName } from "./icons";

export interface MenuItem {
  label: string;
  icon: IconName;
  /** What it does, or where it leads. */
  run?: () => void;
  href?: string;
  isBad?: boolean;
}

const WIDTH_PX = 232;
const ROW_PX = 40;

export function Menu({ label, items, children, className = "icon-btn" }: {
  label: string;
  items: MenuItem[];
  children: ReactNode;
  className?: string;
}) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-label={label}
        title={label}
        onClick={() => setOpen(!open)}
      >
        {children}
      </button>
      {open && (
        <List
          label={label}
          items={items}
          anchor={button.current}
          onClose={(back) => {
            setOpen(false);
            if (back) button.current?.focus();
          }}
        />
      )}
    </>
  );
}

function List({ label, items, anchor, onClose }: {
  label: string;
  items: MenuItem[];
  anchor: HTMLElement | null;
  onClose: (back: boolean) => void;
}) {
  const list = useRef<HTMLDivElement>(null);
  const close = useRef(onClose);
  close.current = onClose;
  useEffect(() => {
    const box = list.current;
    if (!box || !anchor) return;
    const at = anchor.getBoundingClientRect();
    const height = items.length * ROW_PX + 16;
    box.style.left = `${Math.max(8, Math.min(at.right - WIDTH_PX, innerWidth - WIDTH_PX - 8))}px`;
    box.style.top = `${at.bottom + height > innerHeight ? Math.max(8, at.top - height - 4) : at.bottom + 4}px`;
    // Above everything, a dialog around it included.
    box.showPopover?.();
    box.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const away = (event: PointerEvent) => {
      const target = event.target as Node;
      if (!box.contains(target) && !anchor.contains(target)) close.current(false);
    };
    addEventListener("pointerdown", away, true);
    return () => removeEventListener("pointerdown", away, true);
  }, [anchor, items.length]);

  const onKeyDown = (event: KeyboardEvent) => {
    const rows = [...(list.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const at = rows.indexOf(document.activeElement as HTMLElement);
    const move = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (move !== undefined) rows[(move + rows.length) % rows.length]?.focus();
    else if (event.key === "Escape") onClose(true);
    else if (event.key === "Tab") return onClose(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const row = "flex min-h-9 w-full items-center gap-2.5 rounded-md px-2.5 text-left hover:bg-hover focus:bg-hover";
  return (
    <div
      ref={list}
      popover="manual"
      role="menu"
      aria-label={label}
      tabIndex={-1}
      onKeyDown={onKeyDown}
      className="card fixed inset-auto m-0 w-58 p-1.5 text-ink shadow-(--shadow)"
    >
      {items.map(({ label: name, icon, run, href, isBad }) =>
        href ? (
          <a key={name} role="menuitem" tabIndex={-1} href={href} download className={row} onClick={() => onClose(true)}>
            <Icon name={icon} className="size-4" />
            {name}
          </a>
        ) : (
          <button
            key={name}
            type="button"
            role="menuitem"
            tabIndex={-1}
            className={`${row} ${isBad ? "text-bad" : ""}`}
            onClick={() => {
              onClose(true);
              run?.();
            }}
          >
            <Icon name={icon} className="size-4" />
            {name}
          </button>
        ),
      )}
    </div>
  );
}
