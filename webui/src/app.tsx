/** Which page is shown: the doors for who is not signed in, the chat and the admin page for who is. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect } from "react";
import { Link, Redirect, Route, Switch } from "wouter";
import { Problem } from "./api";
import { outbox } from "./outbox";
import { keys, queries, refreshConversations } from "./queries";
import { onOtherTab } from "./tabs";
import { useTexts } from "./texts";
import { Broken } from "./ui/broken";
import { Empty, Loading, ProblemLine } from "./ui/notice";
import { ChatPage } from "./views/chat/page";
import { Frame } from "./views/frame";

// Whoever is signed in, as most are, needs no door.
const LoginPage = lazy(async () => ({ default: (await import("./views/login")).LoginPage }));
const SetupPage = lazy(async () => ({ default: (await import("./views/setup")).SetupPage }));
const AdminPage = lazy(() => import("./views/admin/page"));
const VersionsPage = lazy(() => import("./views/versions/page"));
const PeoplePage = lazy(() => import("./views/people/page"));
const AuditPage = lazy(() => import("./views/audit/page"));
const SystemPage = lazy(() => import("./views/system/page"));
const SettingsPage = lazy(() => import("./views/settings/page"));
const InvitePage = lazy(() => import("./views/invite"));
const VotesPage = lazy(() => import("./views/votes/page"));
const LeaderboardPage = lazy(() => import("./views/leaderboard/page"));
const QueuePage = lazy(() => import("./views/queue/page"));
const MinePage = lazy(() => import("./views/mine/page"));

const BEHIND = [
  ["/admin", AdminPage],
  ["/versions", VersionsPage],
  ["/votes", VotesPage],
  ["/leaderboard", LeaderboardPage],
  ["/people", PeoplePage],
  ["/audit", AuditPage],
  ["/system", SystemPage],
  ["/settings", SettingsPage],
] as const;

export function App() {
  return (
    <Broken>
      <Suspense fallback={<Loading />}>
        <Switch>
          <Route path="/setup" component={SetupPage} />
          <Route path="/login" component={LoginPage} />
          <Route path="/invite" component={InvitePage} />
          <Route>
            <SignedIn />
          </Route>
        </Switch>
      </Suspense>
    </Broken>
  );
}

/** A page whose code is on its way: the frame's main part and heading are there already, for screen readers. */
function PageLoading() {
  const texts = useTexts();
  return (
    <main id="content" className="min-w-0 flex-1">
      <h1 className="sr-only">{texts.common.loading}</h1>
      <Loading lines={6} />
    </main>
  );
}

function SignedIn() {
  const me = useQuery(queries.me);
  useNews(!!me.data);
  if (me.data)
    return (
      <Switch>
        <Route path="/">
          <Frame me={me.data}>
            <ChatPage key="new" id={null} />
          </Frame>
        </Route>
        <Route path="/c/:id">
          {({ id }) => (
            <Frame me={me.data} conversation={id}>
              <ChatPage key={id} id={id} />
            </Frame>
          )}
        </Route>
        <Route path="/queue">
          <Frame me={me.data}>
            <Suspense fallback={<PageLoading />}>
              <QueuePage me={me.data} />
            </Suspense>
          </Frame>
        </Route>
        <Route path="/mine">
          <Frame me={me.data}>
            <Suspense fallback={<PageLoading />}>
              <MinePage />
            </Suspense>
          </Frame>
        </Route>
        {BEHIND.map(([path, View]) => (
          <Route key={path} path={path}>
            <Frame me={me.data} admin>
              <Suspense fallback={<PageLoading />}>
                <View me={me.data} />
              </Suspense>
            </Frame>
          </Route>
        ))}
        <Route>
          <Frame me={me.data}>
            <Lost />
          </Frame>
        </Route>
      </Switch>
    );
  if (me.error instanceof Problem && me.error.status === 401) {
    const here = location.pathname + location.search;
    return <Redirect to={here === "/" ? "/login" : `/login?to=${encodeURIComponent(here)}`} replace />;
  }
  return (
    <main className="mx-auto mt-24 w-[min(28rem,calc(100vw-2rem))]">
      {me.error ? <ProblemLine error={me.error} retry={() => void me.refetch()} /> : <Loading />}
    </main>
  );
}

/** Votes that an earlier page left behind go out now; a counted one, or another tab, changes what is shown. */
function useNews(signedIn: boolean) {
  const client = useQueryClient();
  useEffect(() => {
    if (!signedIn) return;
    outbox.flush();
    const offVotes = outbox.onSettled(() => void refreshConversations(client));
    const offTabs = onOtherTab(() => void client.invalidateQueries({ queryKey: keys.conversations }));
    return () => {
      offVotes();
      offTabs();
    };
  }, [signedIn, client]);
}

function Lost() {
  const texts = useTexts();
  return (
    <main id="content" className="m-auto">
      <Empty title={texts.common.notFound} hint={texts.common.notFoundHint}>
        <Link href="/" className="btn mt-2">
          {texts.common.toChat}
        </Link>
      </Empty>
    </main>
  );
}
