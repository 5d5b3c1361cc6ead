/** Asks others to judge a message: its text goes into the annotators' queue. */
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, type Message } from "../../api";
import { useTexts } from "../../texts";
import { Dialog } from "../../ui/dialog";
import { DialogButtons } from "../../ui/dialog-parts";
import { ProblemLine } from "../../ui/notice";
import { showToast } from "../../ui/toasts";

interface Props {
  /** The conversation's id. */
  id: string;
  message: Message;
  onClose: () => void;
}

export default function Flag({ id, message, onClose }: Props) {
  const texts = useTexts();
  const [overlap, setOverlap] = useState(1);
  const flag = useMutation({
    mutationFn: () => api.queueFlag(id, message.id, overlap),
    onSuccess: () => {
      showToast({ text: texts.flag.done });
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    flag.mutate();
  };
  return (
    <Dialog title={texts.flag.title} onClose={onClose}>
      <form onSubmit={submit} className="flex flex-col gap-3">
        <p className="text-muted">{texts.flag.hint}</p>
        <blockquote className="line-clamp-3 rounded-lg bg-sunken px-3 py-2 wrap-anywhere">
          {message.text}
        </blockquote>
        <label className="flex items-center gap-3">
          <span className="font-medium">{texts.flag.people}</span>
          <input
            type="number"
            className="field w-20"
            min={1}
            max={50}
            required
            value={overlap || ""}
            onChange={(event) => setOverlap(event.target.valueAsNumber || 0)}
          />
        </label>
        {flag.error && <ProblemLine error={flag.error} />}
        <DialogButtons onClose={onClose} disabled={flag.isPending}>
          {texts.flag.submit}
        </DialogButtons>
      </form>
    </Dialog>
  );
}
