/** What stands above every page behind the dashboard: what is live, what trains, and the way to the other pages. */
import { useQuery } from "@tanstack/react-query";
import { Link, useLocation } from "wouter";
import type { Me } from "../../api";
import { queries } from "../../queries";
import { useTexts } from "../../texts/console";
import { ProblemLine } from "../../ui/notice";
import { useFeed } from "../admin/feed";
import { Strip } from "../admin/strip";
import { may } from "./guard";
import { PAGES } from "./pages";

export default function ConsoleTop({ me }: { me: Me }) {
  return (
    <>
      {may(me, "watch") && <LiveStrip me={me} />}
      <Tabs me={me} />
    </>
  );
}

function LiveStrip({ me }: { me: Me }) {
  const texts = useTexts();
  const cut = useFeed();
  const status = useQuery(queries.status);
  return (
    <>
      {cut && (
        <p role="status" className="bg-turn-soft px-4 py-1.5 text-center text-[0.9rem] text-turn">
          {texts.admin.liveLine}
        </p>
      )}
      {status.data && <Strip status={status.data} me={me} />}
      {status.error && !status.data && (
        <div className="p-3">
          <ProblemLine error={status.error} retry={() => void status.refetch()} />
        </div>
      )}
    </>
  );
}

function Tabs({ me }: { me: Me }) {
  const words = useTexts().nav;
  const [here] = useLocation();
  return (
    <nav aria-label={words.label} className="border-b border-line bg-surface px-2 sm:px-4">
      <ul className="mx-auto flex max-w-348 gap-0.5 overflow-x-auto">
        {PAGES.filter(([, , needs]) => may(me, needs)).map(([path, name]) => (
          <li key={path}>
            <Link
              href={path}
              aria-current={here === path ? "page" : undefined}
              className={`block border-b-2 px-3 py-2 text-[0.93rem] whitespace-nowrap ${
                here === path
                  ? "border-accent font-semibold text-ink"
                  : "border-transparent text-muted hover:bg-hover hover:text-ink"
              }`}
            >
              {words[name]}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
