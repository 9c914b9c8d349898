/** The one structured logger of the control plane. Messages are constant; what varies is in fields. */
import { Logger } from "@aws-lambda-powertools/logger";

export const logger = new Logger({ serviceName: "landfall" });
