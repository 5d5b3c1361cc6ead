/** What the pages behind the dashboard share: who may see them, their head, their tables. */
import type { ReactNode } from "react";
import { Link } from "wouter";
import type { Me } from "../../api";
import { useTexts } from "../../texts";
import { useConsole } from "../../texts/console";
import { Empty } from "../../ui/notice";
import type { Permission } from "./calls";

export const may = (me: Me, permission: Permission): boolean => me.may.includes(permission);

interface Props {
  me: Me;
  needs: Permission;
  title: string;
  lead?: string;
  actions?: ReactNode;
  children: ReactNode;
}

/** A page with its heading, or why it is not shown. Children are not made for who may not see them. */
export function Page({ title, lead, actions, children }: Omit<Props, "me" | "needs">) {
  return (
    <main id="content" className="min-h-0 flex-1 overflow-y-auto" tabIndex={0}>
      <div className="mx-auto flex max-w-360 flex-col gap-5 p-4 sm:p-6">
        <header className="flex flex-wrap items-start gap-x-4 gap-y-2">
          <div className="min-w-0 flex-1 basis-72">
            <h1 className="text-xl font-semibold">{title}</h1>
            {lead && <p className="max-w-prose text-muted">{lead}</p>}
          </div>
          {actions && <div className="flex flex-wrap gap-2">{actions}</div>}
        </header>
        {children}
      </div>
    </main>
  );
}

/** For who may not see a page: why, and a way back. */
export function Closed({ needs }: { needs: Permission }) {
  const texts = useTexts();
  const words = useConsole();
  return (
    <main id="content" className="m-auto">
      <Empty title={words.closed.title} hint={words.closed.hint[needs] ?? words.closed.other}>
        <Link href="/" className="btn mt-2">
          {texts.common.toChat}
        </Link>
      </Empty>
    </main>
  );
}

interface CardProps {
  id: string;
  title: string;
  hint?: string;
  actions?: ReactNode;
  children: ReactNode;
  /** Content that brings its own padding, such as a table. */
  flush?: boolean;
}

export function Card({ id, title, hint, actions, children, flush = false }: CardProps) {
  return (
    <section className="card min-w-0 overflow-hidden" aria-labelledby={id}>
      <header className="flex flex-wrap items-baseline gap-x-3 gap-y-1 px-4 pt-3 pb-2">
        <h2 id={id} className="text-[1.05rem] font-semibold">
          {title}
        </h2>
        {hint && <p className="min-w-0 text-[0.87rem] text-muted">{hint}</p>}
        <span className="flex-1" />
        {actions}
      </header>
      <div className={flush ? "" : "px-4 pb-4"}>{children}</div>
    </section>
  );
}

/** A table that scrolls by itself when the page is too narrow for it. */
export function Table({
  label,
  heads,
  children,
}: {
  label: string;
  heads: ReactNode[];
  children: ReactNode;
}) {
  return (
    <div className="relative overflow-x-auto" tabIndex={0} role="group" aria-label={label}>
      <table className="row-table">
        <thead>
          <tr>
            {heads.map((head, index) => (
              <th key={index} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** The head of a column that needs no visible one. */
export const Unseen = ({ children }: { children: string }) => <span className="sr-only">{children}</span>;
