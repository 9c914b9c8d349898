/** The only structured logger of the control plane. Messages are constant; variable values are in fields. */
import { Logger } from "@aws-lambda-powertools/logger";

export const logger = new Logger({ serviceName: "landfall" });
