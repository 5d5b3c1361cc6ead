/** People: who is here, what they may do, and the links that bring others in. */

import { useQuery, useQueryClient } from "@tanstack/react-query";
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
  type Invite,
  type InviteMade,
  type Person,
  ROLES,
  type Role,
} from "../console/calls";
import { Once, useFresh } from "../console/fresh";
import { Card, Closed, may, Page, Table, Unseen } from "../console/guard";

export default function PeoplePage({ me }: { me: Me }) {
  return may(me, "manage") ? <People me={me} /> : <Closed needs="manage" />;
}

type Asking = { kind: "invite" } | { kind: "disable" | "password"; person: Person } | null;

function People({ me }: { me: Me }) {
  const words = useConsole().people;
  const people = useQuery(consoleQueries.people);
  const invites = useQuery(consoleQueries.invites);
  const [asking, setAsking] = useState<Asking>(null);
  const close = () => setAsking(null);
  return (
    <Page
      title={words.title}
      lead={words.lead}
      actions={
        <button type="button" className="btn btn-main" onClick={() => setAsking({ kind: "invite" })}>
          <Icon name="plus" className="size-4.5" />
          {words.invite}
        </button>
      }
    >
      <Card id="people-title" title={words.accounts} flush>
        {people.error && !people.data && (
          <ProblemLine error={people.error} retry={() => void people.refetch()} />
        )}
        {!people.data && !people.error && <Loading />}
        {people.data && <PeopleTable people={people.data.items} me={me} ask={setAsking} />}
      </Card>
      <Card id="invites-title" title={words.links} hint={words.linksHint} flush>
        {invites.error && !invites.data && (
          <ProblemLine error={invites.error} retry={() => void invites.refetch()} />
        )}
        {invites.data?.items.length === 0 && <Empty title={words.noLinks} hint={words.noLinksHint} />}
        {invites.data && invites.data.items.length > 0 && (
          <InviteTable invites={invites.data.items} people={people.data?.items ?? []} />
        )}
      </Card>
      <RoleTable />
      {asking?.kind === "invite" && <InviteDialog onClose={close} />}
      {asking?.kind === "disable" && <DisableDialog person={asking.person} onClose={close} />}
      {asking?.kind === "password" && <PasswordLinkDialog person={asking.person} onClose={close} />}
    </Page>
  );
}

interface PeopleProps {
  people: Person[];
  me: Me;
  ask: (asking: Asking) => void;
}

function PeopleTable({ people, me, ask }: PeopleProps) {
  const words = useConsole().people;
  const language = useLanguage();
  const columns = words.columns;
  const heads = [
    columns.name, columns.role, columns.state, columns.votes, columns.sessions, columns.keys, columns.since,
    <Unseen key="acts">{columns.acts}</Unseen>,
  ]; // biome-ignore format: one row of heads
  return (
    <Table label={words.accounts} heads={heads}>
      {people.map((person) => (
        <tr key={person.id} className="*:align-middle" data-testid={`person-${person.name}`}>
          <th
            scope="row"
            className="max-w-64 min-w-32 border-t border-line text-[0.92rem] font-semibold text-ink wrap-anywhere whitespace-normal"
          >
            {person.name}
            {person.id === me.id && <span className="ml-1.5 font-normal text-muted">{words.you}</span>}
          </th>
          <td>
            <RoleSelect person={person} />
          </td>
          <td>
            <div className="flex flex-wrap items-center gap-1.5">
              <span className={person.disabled_at ? "chip chip-bad" : "chip chip-good"}>
                {person.disabled_at ? words.disabled : words.enabled}
              </span>
              {person.on_trial && <OnTrial person={person} />}
            </div>
          </td>
          <td>{person.votes}</td>
          <td>{person.sessions}</td>
          <td>{person.keys}</td>
          <td className="whitespace-nowrap">{formatTime(person.created_at, language)}</td>
          <td className="text-right whitespace-nowrap">
            <button type="button" className="btn btn-small" onClick={() => ask({ kind: "password", person })}>
              {words.passwordLink}
            </button>{" "}
            <button
              type="button"
              className={`btn btn-small ${person.disabled_at ? "" : "btn-bad"}`}
              onClick={() => ask({ kind: "disable", person })}
              aria-label={`${person.disabled_at ? words.enable : words.disable} ${person.name}`}
            >
              {person.disabled_at ? words.enable : words.disable}
            </button>
          </td>
        </tr>
      ))}
    </Table>
  );
}

/** The mark of an account whose votes wait, and the button that lets them count. */
function OnTrial({ person }: { person: Person }) {
  const words = useConsole().people;
  const changed = usePeopleChanged();
  const { act, asking, error } = useFresh(
    () => consoleApi.changePerson(person.id, { admitted: true }),
    changed,
  );
  return (
    <>
      <span className="chip chip-turn" title={words.onTrialHint}>
        {words.onTrial}
      </span>
      <button
        type="button"
        className="btn btn-small"
        disabled={act.isPending}
        onClick={() => act.mutate(undefined)}
        aria-label={`${words.admit} ${person.name}`}
      >
        {words.admit}
      </button>
      {error && <ProblemLine error={error} />}
      {asking}
    </>
  );
}

function usePeopleChanged() {
  const client = useQueryClient();
  return () => {
    void client.invalidateQueries({ queryKey: consoleKeys.people });
    void client.invalidateQueries({ queryKey: consoleKeys.invites });
  };
}

function RoleSelect({ person }: { person: Person }) {
  const words = useConsole();
  const changed = usePeopleChanged();
  const { act, asking, error } = useFresh(
    (role: Role) => consoleApi.changePerson(person.id, { role }),
    changed,
  );
  return (
    <>
      <select
        className="field min-h-8 w-auto py-0.5"
        aria-label={words.people.roleOf(person.name)}
        value={act.isPending ? act.variables : person.role}
        disabled={act.isPending}
        onChange={(event) => act.mutate(event.target.value as Role)}
      >
        {ROLES.map((role) => (
          <option key={role} value={role}>
            {words.roles[role]}
          </option>
        ))}
      </select>
      {error && <ProblemLine error={error} />}
      {asking}
    </>
  );
}

function InviteTable({ invites, people }: { invites: Invite[]; people: Person[] }) {
  const words = useConsole();
  const texts = words.people;
  const language = useLanguage();
  const changed = usePeopleChanged();
  const { act, asking, error } = useFresh(consoleApi.revokeInvite, changed);
  const nameOf = (id: string | null) => people.find((one) => one.id === id)?.name ?? id ?? "";
  const heads = [
    texts.columns.what, texts.columns.state, texts.columns.by, texts.columns.until, texts.columns.note,
    <Unseen key="acts">{texts.columns.acts}</Unseen>,
  ]; // biome-ignore format: one row of heads
  return (
    <>
      {error && <ProblemLine error={error} />}
      <Table label={texts.links} heads={heads}>
        {invites.map((invite) => (
          <tr key={invite.id}>
            <td className="whitespace-nowrap">
              {invite.account_id ? texts.newPassword(nameOf(invite.account_id)) : words.roles[invite.role]}
            </td>
            <td>
              <span className={invite.state === "open" ? "chip chip-turn" : "chip"}>
                {texts.states[invite.state]}
                {invite.state === "used" && invite.used_by && `: ${nameOf(invite.used_by)}`}
              </span>
            </td>
            <td>{nameOf(invite.created_by)}</td>
            <td className="whitespace-nowrap">{formatTime(invite.expires_at, language)}</td>
            <td className="max-w-64 wrap-anywhere">{invite.note}</td>
            <td className="text-right">
              {invite.state === "open" && (
                <button type="button" className="btn btn-small" onClick={() => act.mutate(invite.id)}>
                  {texts.revoke}
                </button>
              )}
            </td>
          </tr>
        ))}
      </Table>
      {asking}
    </>
  );
}

const linkOf = (made: InviteMade) => `${location.origin}/invite#token=${made.token}`;

function InviteDialog({ onClose }: { onClose: () => void }) {
  const words = useConsole();
  const changed = usePeopleChanged();
  const [role, setRole] = useState<Role>("annotator");
  const [days, setDays] = useState(3);
  const [note, setNote] = useState("");
  const { act, asking, error } = useFresh(() => consoleApi.invite(role, days * 24, note.trim()), changed);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    act.mutate(undefined);
  };
  if (act.data) return <LinkDialog made={act.data} title={words.people.inviteMade} onClose={onClose} />;
  return (
    <Dialog title={words.people.inviteTitle} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.people.columns.role}</span>
          <select className="field" value={role} onChange={(event) => setRole(event.target.value as Role)}>
            {ROLES.map((one) => (
              <option key={one} value={one}>
                {words.roles[one]}
              </option>
            ))}
          </select>
          <span className="text-[0.87rem] text-muted">{words.roleHints[role]}</span>
        </label>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.people.days}</span>
          <input
            type="number"
            className="field"
            min={1}
            max={30}
            required
            value={days}
            onChange={(event) => setDays(event.target.valueAsNumber)}
          />
        </label>
        <label className="flex flex-col gap-1">
          <span className="font-medium">{words.people.columns.note}</span>
          <input
            className="field"
            maxLength={200}
            value={note}
            onChange={(event) => setNote(event.target.value)}
          />
        </label>
        {error && <ProblemLine error={error} />}
        <DialogButtons onClose={onClose} disabled={act.isPending}>
          {words.people.makeLink}
        </DialogButtons>
      </form>
      {asking}
    </Dialog>
  );
}

function LinkDialog({ made, title, onClose }: { made: InviteMade; title: string; onClose: () => void }) {
  const words = useConsole().people;
  const texts = useTexts();
  const language = useLanguage();
  return (
    <Dialog title={title} onClose={onClose}>
      <Once
        label={words.link}
        value={linkOf(made)}
        hint={words.linkHint(formatTime(made.expires_at, language))}
      />
      <div className="mt-4 flex justify-end">
        <button type="button" className="btn btn-main" onClick={onClose}>
          {texts.common.close}
        </button>
      </div>
    </Dialog>
  );
}

function DisableDialog({ person, onClose }: { person: Person; onClose: () => void }) {
  const words = useConsole().people;
  const texts = useTexts();
  const changed = usePeopleChanged();
  const disabled = person.disabled_at === null;
  const { act, asking, error } = useFresh(
    () => consoleApi.changePerson(person.id, { disabled }),
    () => {
      changed();
      onClose();
    },
  );
  return (
    <Dialog
      title={disabled ? words.disableTitle(person.name) : words.enableTitle(person.name)}
      onClose={onClose}
    >
      <p className="mb-3 text-muted">{disabled ? words.disableHint : words.enableHint}</p>
      {error && <ProblemLine error={error} />}
      <div className="mt-3 flex justify-end gap-2">
        <button type="button" className="btn" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button
          type="button"
          className={`btn ${disabled ? "btn-bad" : "btn-main"}`}
          disabled={act.isPending}
          onClick={() => act.mutate(undefined)}
        >
          {disabled ? words.disable : words.enable}
        </button>
      </div>
      {asking}
    </Dialog>
  );
}

function PasswordLinkDialog({ person, onClose }: { person: Person; onClose: () => void }) {
  const words = useConsole().people;
  const texts = useTexts();
  const changed = usePeopleChanged();
  const { act, asking, error } = useFresh(() => consoleApi.passwordLink(person.id), changed);
  if (act.data)
    return <LinkDialog made={act.data} title={words.newPassword(person.name)} onClose={onClose} />;
  return (
    <Dialog title={words.newPassword(person.name)} onClose={onClose}>
      <p className="mb-3 text-muted">{words.passwordHint}</p>
      {error && <ProblemLine error={error} />}
      <div className="mt-3 flex justify-end gap-2">
        <button type="button" className="btn" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button
          type="button"
          className="btn btn-main"
          disabled={act.isPending}
          onClick={() => act.mutate(undefined)}
        >
          {words.makeLink}
        </button>
      </div>
      {asking}
    </Dialog>
  );
}

function RoleTable() {
  const words = useConsole();
  return (
    <Card id="roles-title" title={words.people.rolesTitle}>
      <dl className="grid gap-x-6 gap-y-2 sm:grid-cols-[max-content_1fr]">
        {ROLES.map((role) => (
          <div key={role} className="contents">
            <dt className="font-semibold">{words.roles[role]}</dt>
            <dd className="mb-1 text-muted sm:mb-0">{words.roleHints[role]}</dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}
