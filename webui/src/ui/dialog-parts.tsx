/** What dialogs end with: why it is done, and the two ways out. */
import { type ReactNode, useId } from "react";
import { useTexts } from "../texts";

interface Reason {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: string;
}

export function ReasonField({ label, value, onChange, hint }: Reason) {
  const hinted = useId();
  return (
    <label className="flex flex-col gap-1">
      <span className="font-medium">{label}</span>
      <textarea
        className="field"
        rows={2}
        required
        maxLength={500}
        value={value}
        aria-describedby={hint ? hinted : undefined}
        onChange={(event) => onChange(event.target.value)}
      />
      {hint && (
        <span id={hinted} className="text-[0.87rem] text-muted">
          {hint}
        </span>
      )}
    </label>
  );
}

interface Buttons {
  onClose: () => void;
  disabled?: boolean;
  /** It takes something away. */
  bad?: boolean;
  children: ReactNode;
}

/** Cancel, and the submit button of the form around them. */
export function DialogButtons({ onClose, disabled = false, bad = false, children }: Buttons) {
  const texts = useTexts();
  return (
    <div className="flex justify-end gap-2">
      <button type="button" className="btn" onClick={onClose}>
        {texts.common.cancel}
      </button>
      <button type="submit" className={`btn ${bad ? "btn-bad" : "btn-main"}`} disabled={disabled}>
        {children}
      </button>
    </div>
  );
}
