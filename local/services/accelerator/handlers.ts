/** Global Accelerator's operations, in AWS's shapes. */
import * as sdk from "@aws-sdk/client-global-accelerator";
import { AwsError } from "../../gateway/error.ts";
import { service } from "../../gateway/service.ts";
import type { GlobalAccelerator } from "./accelerator.ts";
import { checkRanges, groupShown, invalid, listenerShown } from "./model.ts";

const fault = { $metadata: {} };

export function acceleratorService(ga: GlobalAccelerator) {
  const tokens = new Map<string, { asked: string; answer: object }>();
  /** A repeated token with the same request gets the same answer. With another request it is an error. */
  function once<T extends object>(
    input: {
      IdempotencyToken?: string | undefined;
      ListenerArn?: string | undefined;
      AcceleratorArn?: string | undefined;
    },
    make: () => T,
  ): T {
    const { IdempotencyToken: token, ListenerArn, AcceleratorArn } = input;
    const key = `${ListenerArn ?? AcceleratorArn ?? ""} ${token}`;
    const asked = JSON.stringify(input);
    const known = token === undefined ? undefined : tokens.get(key);
    if (known !== undefined && known.asked !== asked)
      throw invalid(`The idempotency token ${token} was used for another request.`);
    if (known !== undefined) return known.answer as T;
    const answer = make();
    if (token !== undefined) tokens.set(key, { asked, answer });
    return answer;
  }
  return service<typeof sdk>({
    signingName: "globalaccelerator",
    onlyRegion: "us-west-2",
    protocol: "awsJson",
    sdk,
    resourcesOf: (_, input) => [String(input.EndpointGroupArn ?? input.ListenerArn ?? input.AcceleratorArn ?? "*")],
    handlers: {
      CreateAccelerator: (input) =>
        once(input, () => ({
          Accelerator: ga.describe(ga.createAccelerator(input.Name!, undefined, input.Tags, input.Enabled)),
        })),
      DescribeAccelerator: ({ AcceleratorArn }) => ({ Accelerator: ga.describe(ga.findAccelerator(AcceleratorArn)) }),
      ListAccelerators: (input) =>
        paged(
          input,
          "Accelerators",
          [...ga.accelerators.values()].map((one) => ga.describe(one)),
        ),
      UpdateAccelerator: ({ AcceleratorArn, Name, Enabled }) => {
        const accelerator = ga.findAccelerator(AcceleratorArn);
        accelerator.name = Name ?? accelerator.name;
        accelerator.enabled = Enabled ?? accelerator.enabled;
        ga.changed(accelerator.arn);
        return { Accelerator: ga.describe(accelerator) };
      },
      DeleteAccelerator: ({ AcceleratorArn }) => {
        const { arn, enabled } = ga.findAccelerator(AcceleratorArn);
        if (enabled)
          throw new sdk.AcceleratorNotDisabledException({
            message: "The accelerator must be disabled first.",
            ...fault,
          });
        if (ga.listenersOf(arn).length > 0)
          throw new sdk.AssociatedListenerFoundException({ message: "The accelerator has listeners.", ...fault });
        ga.accelerators.delete(arn);
      },
      CreateListener: (input) =>
        once(input, () => {
          const { Protocol = "TCP", ClientAffinity = "NONE", PortRanges = [] } = input;
          return {
            Listener: listenerShown(
              ga.createListener(input.AcceleratorArn!, {
                protocol: Protocol,
                affinity: ClientAffinity,
                portRanges: PortRanges,
              }),
            ),
          };
        }),
      DescribeListener: ({ ListenerArn }) => ({ Listener: listenerShown(ga.findListener(ListenerArn)) }),
      ListListeners: (input) =>
        paged(input, "Listeners", ga.listenersOf(ga.findAccelerator(input.AcceleratorArn).arn).map(listenerShown)),
      UpdateListener: ({ ListenerArn, PortRanges, Protocol, ClientAffinity }) => {
        const listener = ga.findListener(ListenerArn);
        const siblings = ga.listenersOf(listener.acceleratorArn).filter((other) => other !== listener);
        if (PortRanges !== undefined) checkRanges(PortRanges, Protocol ?? listener.protocol, siblings);
        listener.portRanges = PortRanges ?? listener.portRanges;
        listener.protocol = Protocol ?? listener.protocol;
        listener.affinity = ClientAffinity ?? listener.affinity;
        ga.changed(listener.acceleratorArn);
        return { Listener: listenerShown(listener) };
      },
      DeleteListener: ({ ListenerArn }) => {
        const { arn, acceleratorArn } = ga.findListener(ListenerArn);
        if (ga.groupsOf(arn).length > 0)
          throw new sdk.AssociatedEndpointGroupFoundException({
            message: "The listener has endpoint groups.",
            ...fault,
          });
        ga.listeners.delete(arn);
        ga.changed(acceleratorArn);
      },
      CreateEndpointGroup: (input) => {
        ga.failAtTimes();
        return once(input, () => ({ EndpointGroup: groupShown(ga.createGroup(input)) }));
      },
      DescribeEndpointGroup: ({ EndpointGroupArn }) => ({ EndpointGroup: groupShown(ga.findGroup(EndpointGroupArn)) }),
      ListEndpointGroups: (input) =>
        paged(input, "EndpointGroups", ga.groupsOf(ga.findListener(input.ListenerArn).arn).map(groupShown)),
      UpdateEndpointGroup: (input) => {
        const group = ga.findGroup(input.EndpointGroupArn);
        ga.failAtTimes();
        ga.updateGroup(group, input);
        ga.written(group);
        return { EndpointGroup: groupShown(group) };
      },
      DeleteEndpointGroup: ({ EndpointGroupArn }) => {
        const group = ga.findGroup(EndpointGroupArn);
        ga.groups.delete(group.arn);
        for (const [key, { answer }] of tokens)
          if (
            (answer as { EndpointGroup?: { EndpointGroupArn?: string } }).EndpointGroup?.EndpointGroupArn === group.arn
          )
            tokens.delete(key);
        ga.written(group);
      },
      AddEndpoints: ({ EndpointGroupArn, EndpointConfigurations = [] }) => {
        const group = ga.findGroup(EndpointGroupArn);
        ga.checkNoTransaction(group);
        ga.setEndpoints(group, EndpointConfigurations, { keep: true });
        ga.written(group);
        return { EndpointGroupArn: group.arn, EndpointDescriptions: groupShown(group).EndpointDescriptions };
      },
      RemoveEndpoints: ({ EndpointGroupArn, EndpointIdentifiers = [] }) => {
        const group = ga.findGroup(EndpointGroupArn);
        ga.checkNoTransaction(group);
        for (const { EndpointId } of EndpointIdentifiers) group.endpoints.delete(EndpointId!); // absent ones are fine
        ga.written(group);
      },
      TagResource: ({ ResourceArn, Tags = [] }) => {
        const accelerator = ga.findAccelerator(ResourceArn);
        const kept = accelerator.tags.filter(({ Key }) => !Tags.some((tag) => tag.Key === Key));
        accelerator.tags = [...kept, ...Tags];
      },
      UntagResource: ({ ResourceArn, TagKeys = [] }) => {
        const accelerator = ga.findAccelerator(ResourceArn);
        accelerator.tags = accelerator.tags.filter(({ Key }) => !TagKeys.includes(Key!));
      },
      ListTagsForResource: ({ ResourceArn }) => ({ Tags: ga.findAccelerator(ResourceArn).tags }),
    },
  });
}

function paged<T>(
  { MaxResults = 10, NextToken }: { MaxResults?: number | undefined; NextToken?: string | undefined },
  key: string,
  all: T[],
) {
  const from = Number(NextToken ?? 0);
  if (!Number.isInteger(from) || from < 0)
    throw new AwsError("InvalidNextTokenException", "There isn't another item to return.");
  const more = from + MaxResults < all.length;
  return { [key]: all.slice(from, from + MaxResults), ...(more ? { NextToken: String(from + MaxResults) } : {}) };
}
