import { putEvents } from "../aws/events.ts";
import { readAnnouncedVersion, saveAnnouncedVersion } from "../aws/ledger/settings.ts";
import { logger } from "../aws/logger.ts";
import type { InvalidSetting } from "../aws/settings.ts";
import { detailTypes } from "../schemas/events.ts";

/** Sends an event for each invalid version of a setting: once, or rarely twice. */
export async function announceInvalid(settings: InvalidSetting[]): Promise<void> {
  for (const setting of settings) {
    if ((await readAnnouncedVersion(setting.name)) === setting.version) continue;
    logger.warn("setting invalid", { ...setting });
    await putEvents([{ detailType: detailTypes.settingInvalid, detail: setting }]);
    await saveAnnouncedVersion(setting.name, setting.version);
  }
}
