/** One's own settings: API keys, signed-in browsers, the password; for admins everybody's keys. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Me } from "../../api";
import { formatTime } from "../../format";
import { useLanguage, useTexts } from "../../texts";
import { useConsole } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import {
  consoleApi,
  consoleKeys,
  consoleQueries,
  type Key,
  SCOPES,
  type Scope,
  type Session,
} from "../console/calls";
import { Once, useFresh } from "../console/fresh";
import { Card, may, Page, Table, Unseen } from "../console/guard";

export default function SettingsPage({ me }: { me: Me }) {
  const words = useConsole().settings;
  return (
    <Page title={words.title} lead={words.lead(me.name)}>
      <Keys me={me} />
      <Sessions />
      <Password />
    </Page>
  );
}

function Keys({ me }: { me: Me }) {
  const words = useConsole().settings;
  const [everybody, setEverybody] = useState(false);
  const [making, setMaking] = useState(false);
  const keys = useQuery(consoleQueries.keys(everybody));
  return (
    <Card
      id="keys-title"
      title={words.keys}
      hint={words.keysHint}
      flush
      actions={
        <>
          {may(me, "manage") && (
            <label className="flex items-center gap-2 text-[0.9rem]">
              <input
                type="checkbox"
                checked={everybody}
                onChange={(event) => setEverybody(event.target.checked)}
              />
              {words.everybody}
            </label>
          )}
          <button type="button" className="btn btn-small btn-main" onClick={() => setMaking(true)}>
            <Icon name="plus" className="size-4" />
            {words.newKey}
          </button>
        </>
      }
    >
      {keys.error && !keys.data && <ProblemLine error={keys.error} retry={() => void keys.refetch()} />}
      {!keys.data && !keys.error && <Loading />}
      {keys.data?.items.length === 0 && <Empty title={words.noKeys} hint={words.noKeysHint} />}
      {keys.data && keys.data.items.length > 0 && <KeyTable keys={keys.data.items} showOwner={everybody} />}
      {making && <KeyDialog onClose={() => setMaking(false)} />}
    </Card>
  );
}

function KeyTable({ keys, showOwner }: { keys: Key[]; showOwner: boolean }) {
  const words = useConsole().settings;
  const language = useLanguage();
  const client = useQueryClient();
  const people = useQuery({ ...consoleQueries.people, enabled: showOwner });
  const revoke = useMutation({
    mutationFn: consoleApi.revokeKey,
    onSuccess: () => client.invalidateQueries({ queryKey: consoleKeys.keys }),
  });
  const [asked, setAsked] = useState<Key | null>(null);
  const owner = (id: string) => people.data?.items.find((one) => one.id === id)?.name ?? id;
  const columns = words.columns;
  const heads = [
    columns.label, ...(showOwner ? [columns.owner] : []), columns.scopes, columns.made, columns.used,
    <Unseen key="acts">{columns.acts}</Unseen>,
  ]; // biome-ignore format: one row of heads
  return (
    <>
      <Table label={words.keys} heads={heads}>
        {keys.map((key) => (
          <tr key={key.id} data-testid={`key-${key.label}`}>
            <td>
              <span className="font-semibold">{key.label}</span>{" "}
              {key.ends && <span className="font-mono text-[0.85rem] text-muted">…{key.ends}</span>}
            </td>
            {showOwner && <td>{owner(key.account_id)}</td>}
            <td>
              <span className="flex flex-wrap gap-1">
                {key.scopes.map((scope) => (
                  <span key={scope} className={scope === "admin" ? "chip chip-turn" : "chip"}>
                    {scope}
                  </span>
                ))}
              </span>
            </td>
            <td className="whitespace-nowrap">{formatTime(key.created_at, language)}</td>
            <td className="whitespace-nowrap">{key.used_at ? formatTime(key.used_at, language) : words.never}</td>
            <td className="text-right">
              <button
                type="button"
                className="btn btn-small btn-bad"
                onClick={() => setAsked(key)}
                aria-label={`${words.revoke} ${key.label}`}
              >
                {words.revoke}
              </button>
            </td>
          </tr>
        ))}
      </Table>
      {asked && (
        <RevokeDialog label={asked.label} error={revoke.error} onClose={() => setAsked(null)}
          revoke={() => revoke.mutate(asked.id, { onSuccess: () => setAsked(null) })}
        />
      )}
    </>
  ); // biome-ignore format: short
}

interface RevokeProps {
  label: string;
  error: Error | null;
  onClose: () => void;
  revoke: () => void;
}

function RevokeDialog({ label, error, onClose, revoke }: RevokeProps) {
  const words = useConsole().settings;
  const texts = useTexts();
  return (
    <Dialog title={words.revokeTitle(label)} onClose={onClose}>
      <p className="mb-3 text-muted">{words.revokeHint}</p>
      {error && <ProblemLine error={error} />}
      <div className="mt-3 flex justify-end gap-2">
        <button type="button" className="btn" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button type="button" className="btn btn-bad" onClick={revoke}>
          {words.revoke}
        </button>
      </div>
    </Dialog>
  );
}

function KeyDialog({ onClose }: { onClose: () => void }) {
  const words = useConsole();
  const texts = useTexts();
  const client = useQueryClient();
  const [label, setLabel] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(["chat", "feedback"]);
  const { act, asking, error } = useFresh(
    () => consoleApi.makeKey(label.trim(), scopes),
    () => void client.invalidateQueries({ queryKey: consoleKeys.keys }),
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate(undefined);
  };
  const toggle = (scope: Scope) =>
    setScopes(scopes.includes(scope) ? scopes.filter((one) => one !== scope) : [...scopes, scope]);
  if (act.data)
    return (
      <Dialog title={words.settings.keyMade} onClose={onClose}>
        <Once label={words.settings.secret} value={act.data.secret} hint={words.settings.secretHint} />
        <pre className="mt-3 overflow-x-auto rounded-lg bg-sunken p-3 text-[0.82rem]" tabIndex={0}>
          {`curl ${location.origin}/v1/models -H "Authorization: Bearer …${act.data.ends}"`}
        </pre>
        <div className="mt-4 flex justify-end">
          <button type="button" className="btn btn-main" onClick={onClose}>
            {texts.common.close}
          </button>
        </div>
      </Dialog>
    );
  return (
    <Dialog title={words.settings.newKey} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.settings.columns.label}</span>
          <input
            className="field"
            required
            maxLength={80}
            placeholder={words.settings.labelHint}
            value={label}
            onChange={(event) => setLabel(event.target.value)}
          />
        </label>
        <fieldset className="flex flex-col gap-2">
          <legend className="mb-1 font-medium">{words.settings.columns.scopes}</legend>
          {SCOPES.map((scope) => (
            <label key={scope} className="flex items-start gap-2">
              <input
                type="checkbox"
                className="mt-1.5"
                checked={scopes.includes(scope)}
                onChange={() => toggle(scope)}
              />
              <span>
                <span className="font-mono">{scope}</span>{" "}
                <span className="text-muted">{words.settings.scopes[scope]}</span>
              </span>
            </label>
          ))}
        </fieldset>
        {error && <ProblemLine error={error} />}
        <DialogButtons onClose={onClose} disabled={act.isPending || scopes.length === 0}>
          {words.settings.make}
        </DialogButtons>
      </form>
      {asking}
    </Dialog>
  );
}

function Sessions() {
  const words = useConsole().settings;
  const client = useQueryClient();
  const language = useLanguage();
  const sessions = useQuery(consoleQueries.sessions);
  const changed = () => void client.invalidateQueries({ queryKey: consoleKeys.sessions });
  const end = useMutation({ mutationFn: consoleApi.endSession, onSuccess: changed });
  const endOthers = useMutation({ mutationFn: consoleApi.endOtherSessions, onSuccess: changed });
  const items = sessions.data?.items ?? [];
  const line = (session: Session) => [
    <td key="agent" className="max-w-md wrap-anywhere">
      {browserOf(session.agent) || words.unknown}{" "}
      {session.current && <span className="chip chip-good">{words.thisOne}</span>}
    </td>,
    <td key="address" className="font-mono text-[0.88rem]">{session.address}</td>,
    <td key="opened" className="whitespace-nowrap">{formatTime(session.created_at, language)}</td>,
    <td key="seen" className="whitespace-nowrap">{formatTime(session.seen_at, language)}</td>,
    <td key="acts" className="text-right">
      {!session.current && (
        <button type="button" className="btn btn-small" onClick={() => end.mutate(session.id)}>
          {words.signOut}
        </button>
      )}
    </td>,
  ]; // biome-ignore format: one row of cells
  return (
    <Card
      id="sessions-title"
      title={words.sessions}
      flush
      actions={
        items.length > 1 && (
          <button type="button" className="btn btn-small" onClick={() => endOthers.mutate()}>
            {words.signOutOthers}
          </button>
        )
      }
    >
      {sessions.error && !sessions.data && (
        <ProblemLine error={sessions.error} retry={() => void sessions.refetch()} />
      )}
      {!sessions.data && !sessions.error && <Loading />}
      {items.length > 0 && (
        <Table
          label={words.sessions}
          heads={[
            words.columns.browser,
            words.columns.address,
            words.columns.opened,
            words.columns.seen,
            <Unseen key="acts">{words.columns.acts}</Unseen>,
          ]}
        >
          {items.map((session) => (
            <tr key={session.id}>{line(session)}</tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

/** "Firefox on Linux" from a user agent's words; the words themselves when they say neither. */
export function browserOf(agent: string): string {
  const browser = /(Firefox|Edg|OPR|Chrome|Safari)\//.exec(agent)?.[1];
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1];
  const names: Record<string, string> = { Edg: "Edge", OPR: "Opera", "Mac OS X": "macOS" };
  const known = [browser, system]
    .filter((one): one is string => one !== undefined)
    .map((one) => names[one] ?? one);
  return known.length === 2 ? known.join(" · ") : agent.slice(0, 80);
}

function Password() {
  const words = useConsole().settings;
  const texts = useTexts();
  const client = useQueryClient();
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const change = useMutation({
    mutationFn: () => consoleApi.changePassword(current, password),
    onSuccess: () => {
      setCurrent("");
      setPassword("");
      void client.invalidateQueries({ queryKey: consoleKeys.sessions });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  return (
    <Card id="password-title" title={words.password}>
      <form onSubmit={submit} className="flex max-w-sm flex-col gap-3">
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.current}</span>
          <input
            type="password"
            className="field"
            autoComplete="current-password"
            required
            value={current}
            onChange={(event) => setCurrent(event.target.value)}
          />
        </label>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.newPassword}</span>
          <input
            type="password"
            className="field"
            autoComplete="new-password"
            minLength={12}
            required
            value={password}
            onChange={(event) => setPassword(event.target.value)}
            aria-describedby="new-password-hint"
          />
          <span id="new-password-hint" className="text-[0.87rem] text-muted">
            {texts.door.passwordHint}
          </span>
        </label>
        {change.error && <ProblemLine error={change.error} />}
        <div role="status">{change.isSuccess && <p className="text-accent">{words.changed}</p>}</div>
        <button type="submit" className="btn self-start" disabled={change.isPending}>
          {words.change}
        </button>
      </form>
    </Card>
  );
}
