/** Generic netlink: families are found by name, their messages begin with struct genlmsghdr. Source: linux/genetlink.h. */
import { attributeText, decodeAttributes, type Message, type Request } from './message.ts';
import { NetlinkSocket, watchNetlinkGroup } from './socket.ts';

const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR = { FAMILY_ID: 1, FAMILY_NAME: 2, MCAST_GROUPS: 7 } as const;
const CTRL_ATTR_MCAST_GRP = { NAME: 1, ID: 2 } as const;
/** struct genlmsghdr: command, version, two bytes reserved. */
export const genericHeaderSize = 4;

export interface GenericCommand {
  readonly command: number;
  readonly attributes: readonly Uint8Array[];
  /** For error messages. */
  readonly what: string;
}

const body = ({ command, attributes }: GenericCommand): Buffer =>
  Buffer.concat([Buffer.from([command, 1, 0, 0]), ...attributes]);

interface Family {
  readonly id: number;
  /** Multicast groups by name. */
  readonly groups: ReadonlyMap<string, number>;
}

function decodeGroups(list: Buffer | undefined): Family['groups'] {
  const groups = [...decodeAttributes(list ?? Buffer.alloc(0), 0).values()].map(group => decodeAttributes(group, 0));
  return new Map(
    groups.map(group => [
      attributeText(group.get(CTRL_ATTR_MCAST_GRP.NAME)),
      group.get(CTRL_ATTR_MCAST_GRP.ID)?.readUInt32LE(0) ?? 0,
    ]),
  );
}

function findFamily(socket: NetlinkSocket, name: string): Family | undefined {
  const command = { command: CTRL_CMD_GETFAMILY, attributes: [], what: 'list families of generic netlink' };
  for (const message of socket.dump({ type: GENL_ID_CTRL, body: body(command), what: command.what })) {
    const found = decodeAttributes(message.body, genericHeaderSize);
    const id = found.get(CTRL_ATTR.FAMILY_ID)?.readUInt16LE(0);
    if (id !== undefined && attributeText(found.get(CTRL_ATTR.FAMILY_NAME)) === name)
      return { id, groups: decodeGroups(found.get(CTRL_ATTR.MCAST_GROUPS)) };
  }
  return undefined;
}

/** A family's messages, over a socket of the namespace that it was opened in. */
export class GenericFamily {
  readonly #socket: NetlinkSocket;
  readonly #family: Family;

  private constructor(socket: NetlinkSocket, family: Family) {
    this.#socket = socket;
    this.#family = family;
  }

  /** In the namespace at `netns`, or the thread's own. Undefined: this kernel has no such family. */
  static open(name: string, netns?: string): GenericFamily | undefined {
    const socket = new NetlinkSocket(netns, NETLINK_GENERIC);
    const family = findFamily(socket, name);
    if (family !== undefined) return new GenericFamily(socket, family);
    socket.close();
    return undefined;
  }

  dump(command: GenericCommand): readonly Message[] {
    return this.#socket.dump({ type: this.#family.id, body: body(command), what: command.what });
  }

  execute(command: GenericCommand): void {
    const request: Request = { type: this.#family.id, flags: 0, body: body(command), what: command.what };
    this.#socket.execute(request);
  }

  /** Calls `changed` when the kernel tells of something in the group, in the thread's own namespace. */
  watch(group: string, changed: () => void): () => void {
    const id = this.#family.groups.get(group);
    return id === undefined ? () => undefined : watchNetlinkGroup(NETLINK_GENERIC, id, changed);
  }

  close(): void {
    this.#socket.close();
  }
}
