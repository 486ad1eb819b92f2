/** Loads a compiled object: constants set, maps reused from pins or made and pinned, programs verified. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { elfSection } from './elf.ts';
import { errnoName, KernelError, syscallError } from './errors.ts';
import { alloc, bpf, c, cString, errno, free, type Pointer, viewMemory } from './ffi.ts';
import { kernelAtLeast } from './host.ts';
import { mapInfo, type ProgramInfo, programInfo } from './info.ts';
import { mapTypeName } from './map.ts';

export interface LoadOptions {
  readonly path: string;
  /** Maps are pinned and reused here by name; undefined: private maps. */
  readonly mapPinDir?: string;
  /** Bytes of the object's `.rodata` (struct datapath_config); its size must fit. */
  readonly rodata?: Uint8Array;
  /** What the object must be marked with in its section 'ciliate_abi'; not checked when not given. */
  readonly abiHash?: string;
  /** Other sizes than C declares, by map name. A pinned map keeps its own. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** Bytes of a value in inner maps, by the name of the outer one. */
  readonly innerValueSize?: Readonly<Record<string, number>>;
  /** Load these alone; default all. */
  readonly programs?: readonly string[];
}

export interface LoadedProgram {
  readonly name: string;
  readonly fd: number;
  readonly info: ProgramInfo;
}

export interface LoadedObject {
  readonly path: string;
  readonly programs: ReadonlyMap<string, LoadedProgram>;
  /** Descriptors of the maps, by name; they belong to the object. */
  readonly maps: ReadonlyMap<string, number>;
  /** Releases programs and maps that are neither pinned nor attached. */
  close(): void;
}

const logSize = 1 << 22;
const BPF_PROG_TYPE_XDP = 6;
/** Packets in several buffers come too: without it a driver refuses the program on devices with a large MTU. */
const BPF_F_XDP_HAS_FRAGS = 32;

/** The last line of a verifier log that says what is wrong, not how much was processed. */
export function lastUsefulLine(log: string): string {
  const lines = log.split('\n').map(line => line.trim());
  return (
    lines.findLast(
      line => line !== '' && !/^(processed \d+ insns|verification time|stack depth|-- END|max_states)/.test(line),
    ) ?? 'no log'
  );
}

function* each(
  next: (object: Pointer, last: Pointer | null) => Pointer | null,
  object: Pointer,
): IterableIterator<Pointer> {
  for (let item = next(object, null); item !== null; item = next(object, item)) yield item;
}

function checkAbi(path: string, file: Uint8Array, wanted: string | undefined): void {
  if (wanted === undefined) return;
  const section = elfSection(file, 'ciliate_abi') ?? new Uint8Array();
  const found = Buffer.from(section).toString('latin1').replace(/\0.*$/s, '');
  if (found === wanted) return;
  throw new KernelError(
    { code: 'OBJECT_ABI_MISMATCH', path },
    `${path} is of another version (ABI ${found === '' ? 'not named' : found}, ours ${wanted}): run 'make objects', or name the folder of this version with --object-dir`,
  );
}

function openObject({ path, abiHash }: LoadOptions): Pointer {
  if (!existsSync(path))
    throw new KernelError(
      { code: 'OBJECT_MISSING', path },
      `${path} is missing: run 'make objects', or name the folder with --object-dir`,
    );
  const file = readFileSync(path);
  if (file.subarray(0, 4).toString('latin1') !== '\x7fELF') {
    throw new KernelError({ code: 'OBJECT_INVALID', path }, `${path} is not an eBPF object: run 'make objects'`);
  }
  const object = bpf.objectOpen(path);
  if (object === null)
    throw new KernelError(
      { code: 'OBJECT_INVALID', path, errno: errnoName(errno()) },
      `${path} cannot be read as an eBPF object (${errnoName(errno())}, truncated?): run 'make objects'`,
    );
  try {
    checkAbi(path, file, abiHash);
  } catch (error) {
    bpf.objectClose(object);
    throw error;
  }
  return object;
}

function setConstants(object: Pointer, options: LoadOptions): void {
  if (options.rodata === undefined) return;
  for (const map of each(bpf.nextMap, object)) {
    if (!bpf.mapName(map).endsWith('.rodata')) continue;
    const size = bpf.mapValueSize(map);
    if (size < options.rodata.length) {
      throw new KernelError(
        { code: 'OBJECT_ABI_MISMATCH', path: options.path },
        `${options.path} is of another version: its constants have ${size} bytes, ours ${options.rodata.length}: run 'make objects'`,
      );
    }
    const value = new Uint8Array(size);
    value.set(options.rodata);
    if (bpf.mapSetInitialValue(map, value, size) !== 0) throw syscallError(`constants of ${options.path}`, errno());
  }
}

function checkPinned(map: Pointer, name: string, fd: number): void {
  const info = mapInfo(fd);
  if (
    info.type === bpf.mapType(map) &&
    info.keySize === bpf.mapKeySize(map) &&
    info.valueSize === bpf.mapValueSize(map)
  )
    return;
  throw new KernelError(
    { code: 'MAP_ABI_MISMATCH', map: name },
    `the pinned map ${name} is of another version (${mapTypeName(info.type)}, key ${info.keySize}, value ${info.valueSize} bytes; the object wants ` +
      `${mapTypeName(bpf.mapType(map))}, ${bpf.mapKeySize(map)}, ${bpf.mapValueSize(map)}): start the version that made it, or remove the pin when no pod runs`,
  );
}

function prepareMaps(object: Pointer, options: LoadOptions): void {
  for (const map of each(bpf.nextMap, object)) {
    const name = bpf.mapName(map);
    if (name.includes('.')) continue;
    const pin = options.mapPinDir === undefined ? undefined : join(options.mapPinDir, name);
    const fd = pin === undefined || !existsSync(pin) ? -1 : bpf.get(pin);
    if (fd >= 0) {
      checkPinned(map, name, fd);
      if (bpf.mapReuseFd(map, fd) !== 0) throw syscallError(`reuse of ${name}`, errno(), { map: name });
      c.close(fd);
      continue;
    }
    const innerSize = options.innerValueSize?.[name];
    const inner = innerSize === undefined ? null : bpf.innerMap(map);
    if (inner !== null && innerSize !== undefined && bpf.mapSetValueSize(inner, innerSize) !== 0)
      throw syscallError(`value size of ${name}`, errno(), { map: name });
    const size = options.maxEntries?.[name];
    if (size !== undefined && bpf.mapSetMaxEntries(map, size) !== 0)
      throw syscallError(`size of ${name}`, errno(), { map: name });
  }
}

function pinMaps(object: Pointer, directory: string): void {
  mkdirSync(directory, { recursive: true });
  for (const map of each(bpf.nextMap, object)) {
    const name = bpf.mapName(map);
    const path = join(directory, name);
    if (name.includes('.') || existsSync(path)) continue;
    if (bpf.pin(bpf.mapFd(map), path) !== 0) throw syscallError(`pin ${path}`, errno(), { path });
  }
}

/** Programs that shall load, each with a log buffer of its own: the verifier's words are kept per program. */
function preparePrograms(
  object: Pointer,
  options: LoadOptions,
): ReadonlyMap<string, { readonly program: Pointer; readonly log: Pointer }> {
  const prepared = new Map<string, { readonly program: Pointer; readonly log: Pointer }>();
  for (const program of each(bpf.nextProgram, object)) {
    const name = bpf.programName(program);
    if (options.programs !== undefined && !options.programs.includes(name)) {
      bpf.programSetAutoload(program, false);
      continue;
    }
    if (bpf.programType(program) === BPF_PROG_TYPE_XDP && kernelAtLeast(5, 18))
      bpf.programSetFlags(program, BPF_F_XDP_HAS_FRAGS);
    const log = alloc(logSize);
    new Uint8Array(viewMemory(log, 1))[0] = 0;
    bpf.programSetLogBuf(program, log, logSize);
    prepared.set(name, { program, log });
  }
  const missing = options.programs?.find(name => !prepared.has(name));
  if (missing !== undefined) {
    for (const { log } of prepared.values()) free(log);
    throw new KernelError(
      { code: 'PROGRAM_NOT_FOUND', program: missing, path: options.path },
      `${options.path} has no program ${missing}: it is of another version: run 'make objects'`,
    );
  }
  return prepared;
}

function loadError(options: LoadOptions, code: number, prepared: ReturnType<typeof preparePrograms>): KernelError {
  for (const [name, { program, log }] of prepared) {
    const text = cString(log);
    if (bpf.programFd(program) >= 0 || text === '') continue;
    return new KernelError(
      { code: 'VERIFIER_REJECTED', program: name, path: options.path, log: text, errno: errnoName(code) },
      `the verifier rejected ${name} of ${options.path} (${errnoName(code)}): ${lastUsefulLine(text)}`,
    );
  }
  return syscallError(`load ${options.path}`, code, { path: options.path });
}

interface OpenObject {
  readonly object: Pointer;
  readonly prepared: ReturnType<typeof preparePrograms>;
}

function release({ object, prepared }: OpenObject): void {
  bpf.objectClose(object);
  for (const { log } of prepared.values()) free(log);
}

/** Open, and ready for the one call that makes its maps and has its programs verified. */
function prepare(options: LoadOptions): OpenObject {
  const object = openObject(options);
  try {
    setConstants(object, options);
    prepareMaps(object, options);
    return { object, prepared: preparePrograms(object, options) };
  } catch (error) {
    bpf.objectClose(object);
    throw error;
  }
}

/** Throws KernelError; then nothing stays loaded, and pins that were there are as they were. */
export function loadObject(options: LoadOptions): LoadedObject {
  const open = prepare(options);
  return finish(options, open, bpf.objectLoad(open.object));
}

/** Like loadObject; the verifier works in a thread of its own. */
export async function loadObjectAside(options: LoadOptions): Promise<LoadedObject> {
  const open = prepare(options);
  return finish(options, open, await bpf.objectLoadAside(open.object));
}

function finish(options: LoadOptions, open: OpenObject, result: number): LoadedObject {
  const { object, prepared } = open;
  try {
    if (result !== 0) throw loadError(options, result < 0 ? -result : errno(), prepared);
    if (options.mapPinDir !== undefined) pinMaps(object, options.mapPinDir);
  } catch (error) {
    release(open);
    throw error;
  }
  const programs = new Map<string, LoadedProgram>();
  for (const [name, { program, log }] of prepared) {
    const fd = bpf.programFd(program);
    programs.set(name, { name, fd, info: programInfo(fd) });
    free(log);
  }
  const maps = new Map([...each(bpf.nextMap, object)].map(map => [bpf.mapName(map), bpf.mapFd(map)]));
  return { path: options.path, programs, maps, close: () => bpf.objectClose(object) };
}

/** Pins a program or link; an existing pin is an error (EEXIST). */
export function pinObject(fd: number, path: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
  if (bpf.pin(fd, path) !== 0) throw syscallError(`pin ${path}`, errno(), { path });
}

/** A descriptor of what is pinned at `path`. Throws with errno ENOENT when nothing is. */
export function openPin(path: string): number {
  const fd = bpf.get(path);
  if (fd < 0) throw syscallError(`open ${path}`, errno(), { path });
  return fd;
}

export function closeFd(fd: number): void {
  c.close(fd);
}
