/**
 * The programs of a node: loaded from objects when they or their constants changed, else adopted from their pins. Maps are always
 * those that are pinned, so an upgrade keeps every flow; links are updated in place by attach().
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { abiHash } from '@ciliate/abi';
import {
  closeFd,
  KernelError,
  type LoadedObject,
  loadObjectAside,
  mapTypeName,
  openPin,
  pinnedMapInfo,
  pinObject,
  programInfo,
  resizePinned,
} from '@ciliate/kernel';
import type { PinPaths } from './paths.ts';

export interface ObjectSpec {
  /** File name in the object folder: 'lxc.bpf.o'. */
  readonly file: string;
  readonly programs: readonly string[];
}

const ofPods: readonly ObjectSpec[] = [
  { file: 'lxc.bpf.o', programs: ['from_container'] },
  { file: 'host.bpf.o', programs: ['from_netdev', 'to_netdev', 'from_host'] },
];
const ofTunnels: readonly ObjectSpec[] = [{ file: 'overlay.bpf.o', programs: ['from_overlay'] }];
const ofServicesAlone: readonly ObjectSpec[] = [{ file: 'foreign.bpf.o', programs: ['from_foreign', 'to_foreign'] }];
const ofAcceleration: readonly ObjectSpec[] = [{ file: 'xdp.bpf.o', programs: ['xdp_netdev'] }];
const ofEveryNode: readonly ObjectSpec[] = [
  {
    file: 'sock.bpf.o',
    programs: [
      'sock4_connect',
      'sock6_connect',
      'sock4_sendmsg',
      'sock6_sendmsg',
      'sock4_recvmsg',
      'sock6_recvmsg',
      'sock4_getpeername',
      'sock6_getpeername',
      'sock4_post_bind',
      'sock6_post_bind',
    ],
  },
  { file: 'gc.bpf.o', programs: ['ct_gc', 'nat_gc'] },
];

/** Every object that there is. */
export const objects: readonly ObjectSpec[] = [
  ...ofPods,
  ...ofTunnels,
  ...ofServicesAlone,
  ...ofAcceleration,
  ...ofEveryNode,
];

/** What a node loads. */
export function objectsOf(node: {
  readonly serviceOnly: boolean;
  readonly routingMode: 'tunnel' | 'native';
  readonly acceleration: boolean;
}): readonly ObjectSpec[] {
  const more = [...(node.acceleration ? ofAcceleration : []), ...ofEveryNode];
  if (node.serviceOnly) return [...ofServicesAlone, ...more];
  return [...ofPods, ...(node.routingMode === 'tunnel' ? ofTunnels : []), ...more];
}

/** Programs of native devices. */
export function netdevPrograms(programs: Programs) {
  return programs.has('from_foreign')
    ? ({ ingress: 'from_foreign', egress: 'to_foreign' } as const)
    : ({ ingress: 'from_netdev', egress: 'to_netdev' } as const);
}

export interface NodeProgram {
  readonly fd: number;
  readonly id: number;
  /** Instructions after translation. */
  readonly instructions: number;
}

export type Programs = ReadonlyMap<string, NodeProgram>;

/** Throws PROGRAM_NOT_FOUND. */
export function programOf(programs: Programs, name: string): NodeProgram {
  const program = programs.get(name);
  if (program === undefined)
    throw new KernelError({ code: 'PROGRAM_NOT_FOUND', program: name }, `program ${name} is not loaded`);
  return program;
}

export interface LoadPrograms {
  readonly objects: readonly ObjectSpec[];
  readonly objectDir: string;
  readonly pins: PinPaths;
  readonly config: Uint8Array;
  readonly maxEntries: Readonly<Record<string, number>>;
  readonly innerValueSize: Readonly<Record<string, number>>;
  /** Where the build of what is pinned is recorded. */
  readonly stateFile: string;
}

/** Names what is loaded: the objects' bytes and the constants. */
function buildId(options: LoadPrograms): string {
  const hash = createHash('sha256').update(options.config);
  for (const { file } of options.objects) {
    const path = join(options.objectDir, file);
    if (!existsSync(path))
      throw new KernelError(
        { code: 'OBJECT_MISSING', path },
        `${path} is missing: run 'make objects', or name the folder with --object-dir`,
      );
    hash.update(readFileSync(path));
  }
  return hash.digest('hex');
}

function recordedBuild(path: string): string {
  try {
    const state: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof state === 'object' && state !== null && 'build' in state ? String(state.build) : '';
  } catch {
    return '';
  }
}

function describe(fd: number): NodeProgram {
  const { id, instructions } = programInfo(fd);
  return { fd, id, instructions };
}

function adopt({ pins, objects: specs }: LoadPrograms): ReadonlyMap<string, NodeProgram> | undefined {
  const names = specs.flatMap(object => object.programs);
  if (!names.every(name => existsSync(pins.program(name)))) return undefined;
  return new Map(names.map(name => [name, describe(openPin(pins.program(name)))]));
}

/** All objects are verified before the first pin changes: a rejected one leaves the old programs in force. */
async function loadAll(options: LoadPrograms): Promise<ReadonlyMap<string, NodeProgram>> {
  mkdirSync(options.pins.maps, { recursive: true });
  mkdirSync(options.pins.programs, { recursive: true });
  const loaded = await verifyAll(options);
  const programs = new Map<string, NodeProgram>();
  for (const object of loaded) {
    for (const [name, program] of object.programs) {
      const path = options.pins.program(name);
      rmSync(path, { force: true });
      pinObject(program.fd, path);
      programs.set(name, describe(openPin(path)));
    }
    object.close();
  }
  for (const name of readdirSync(options.pins.programs)) {
    if (!programs.has(name)) rmSync(options.pins.program(name), { force: true });
  }
  return programs;
}

/** All of them at once: the verifier needs most of a second for the large ones. Throws what the first of them threw. */
async function verifyAll(options: LoadPrograms): Promise<readonly LoadedObject[]> {
  const load = (object: ObjectSpec, programs: readonly string[]) =>
    loadObjectAside({
      path: join(options.objectDir, object.file),
      mapPinDir: options.pins.maps,
      rodata: options.config,
      abiHash,
      maxEntries: options.maxEntries,
      innerValueSize: options.innerValueSize,
      programs,
    });
  // Maps first, one object after the other: those that many objects name must not be made by each.
  for (const object of options.objects) (await load(object, [])).close();
  const results = await Promise.allSettled(options.objects.map(object => load(object, object.programs)));
  const loaded = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
  const rejected = results.find(result => result.status === 'rejected');
  if (rejected === undefined) return loaded;
  for (const object of loaded) object.close();
  throw rejected.reason;
}

export interface NodePrograms {
  readonly programs: ReadonlyMap<string, NodeProgram>;
  readonly adopted: boolean;
  /** Maps that have another size than is asked for, and keep it. */
  readonly keptSizes: readonly KernelError[];
}

/** Maps whose entries come from the agent alone; into the others programs write all the time. */
const ownTypes: readonly string[] = ['hash', 'lpm_trie'];

/** Pinned maps get the size that is asked for. */
function resizeMaps({ pins, maxEntries, stateFile }: LoadPrograms): readonly KernelError[] {
  const kept: KernelError[] = [];
  for (const [map, size] of Object.entries(maxEntries)) {
    const info = pinnedMapInfo(pins.map(map));
    if (info === undefined || info.maxEntries === size) continue;
    if (ownTypes.includes(mapTypeName(info.type))) {
      // Programs that know the old map must not be taken over, whatever happens from here on.
      rmSync(stateFile, { force: true });
      resizePinned(pins.map(map), size);
    } else kept.push(sizeKept(map, info.maxEntries, size));
  }
  return kept;
}

function sizeKept(map: string, maxEntries: number, asked: number): KernelError {
  return new KernelError(
    { code: 'MAP_SIZE_KEPT', map, maxEntries },
    `${map} keeps its ${maxEntries} entries, for what it holds: ${asked} count once its pin is removed, when no pod runs`,
  );
}

/** Throws KernelError (VERIFIER_REJECTED, MAP_ABI_MISMATCH, OBJECT_…); then what ran before still runs. */
export async function loadPrograms(options: LoadPrograms): Promise<NodePrograms> {
  const build = buildId(options);
  const keptSizes = resizeMaps(options);
  const pinned = recordedBuild(options.stateFile) === build ? adopt(options) : undefined;
  if (pinned !== undefined) return { programs: pinned, adopted: true, keptSizes };
  const programs = await loadAll(options);
  writeFileSync(`${options.stateFile}.new`, JSON.stringify({ build }));
  renameSync(`${options.stateFile}.new`, options.stateFile);
  return { programs, adopted: false, keptSizes };
}

export function closePrograms(programs: ReadonlyMap<string, NodeProgram>): void {
  for (const program of programs.values()) closeFd(program.fd);
}
