/** A version to take away: its files with the card, the reward model, and the data that both learned from. */
import type { Me } from "../../api";
import { useConsole } from "../../texts/console";
import { Icon } from "../../ui/icons";
import type { Version } from "../console/calls";
import { may } from "../console/guard";

const FORMATS = ["preference", "unpaired", "sft"] as const;

export function Downloads({ detail, me }: { detail: Version; me: Me }) {
  const words = useConsole().versions;
  const { version, run_id, snapshot } = detail;
  const model = `/api/v1/policies/${version.number}/download`;
  return (
    <div className="mt-2 flex flex-wrap gap-2" data-testid="downloads">
      {may(me, "train") && <Link href={model} label={words.downloadPolicy} />}
      {may(me, "train") && version.reward_model != null && (
        <Link href={`${model}?what=reward_model`} label={words.downloadRewardModel} />
      )}
      {run_id !== null &&
        snapshot !== null &&
        FORMATS.map((format) => (
          <Link
            key={format}
            href={`/api/v1/runs/${run_id}/data?format=${format}`}
            label={words.downloadData(format)}
          />
        ))}
    </div>
  );
}

function Link({ href, label }: { href: string; label: string }) {
  return (
    <a className="btn btn-small" href={href} download>
      <Icon name="download" className="size-4" />
      {label}
    </a>
  );
}
