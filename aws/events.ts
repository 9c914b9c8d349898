import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { type ControlEvent, sources } from "../schemas/events.ts";
import { clientLimits } from "../schemas/limits.ts";
import { inParallel, slicesOf } from "./parallel.ts";
import { environment } from "./settings.ts";

const client = new EventBridgeClient({});
const { eventsPerPut } = clientLimits;

/** Puts the controller's events on the bus, ten a call, in no order; a refused entry is an error. */
export async function putEvents(events: ControlEvent[]): Promise<void> {
  await inParallel(slicesOf(events, eventsPerPut), async (some) => {
    const Entries = some.map(({ detailType, detail }) => ({
      EventBusName: environment.LANDFALL_BUS,
      Source: sources.control,
      DetailType: detailType,
      Detail: JSON.stringify(detail),
    }));
    const answer = await client.send(new PutEventsCommand({ Entries }));
    const refused = answer.Entries?.find((entry) => entry.ErrorCode !== undefined);
    if (refused !== undefined) throw new Error(`event refused: ${refused.ErrorCode} ${refused.ErrorMessage}`);
  });
}
