/** What a person can have done with a turn. */
import type { Answer, Message, Mode } from "../../api";
import type { ShownTurn } from "../../branch";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";

export interface TurnActions {
  /** New answers to a message, as the person's choice of comparing has it. */
  again: (messageId: string, mode?: Mode) => void;
  /** New answers to a message, two to compare unless the person never compares. */
  compare: (messageId: string) => void;
  /** Lets an answer that broke off or was stopped go on where it ended. */
  resume: (answer: Answer) => void;
  /** Shows the branch that ends with this answer. */
  goOn: (answerId: string) => void;
  /** Shows the branch below another edit of a message. */
  turnTo: (message: Message) => void;
  /** Opens a message for editing; null closes it. */
  edit: (messageId: string | null) => void;
  /** Says this in place of the turn's message, as a branch of its own. */
  sayInstead: (turn: ShownTurn, text: string) => void;
  rank: (answers: Answer[]) => void;
  ideal: (answer: Answer) => void;
  /** Opens the question whether others should judge this message. */
  flag: (message: Message) => void;
  seenBoth: (duelId: string) => void;
  busy: boolean;
}

/** Asks again where nothing answered. */
export function RetryButton({ turn, actions }: { turn: ShownTurn; actions: TurnActions }) {
  const texts = useTexts();
  return (
    <button
      type="button"
      className="btn btn-small"
      disabled={actions.busy}
      onClick={() => actions.again(turn.message.id)}
    >
      <Icon name="again" className="size-4" />
      {texts.chat.retry}
    </button>
  );
}
