/**
 * The C functions that we call: libc and Debian's libbpf 1.1. The one place where koffi's untyped functions get their types.
 * A pointer that C gives is a bigint address; a buffer that we give may be any Uint8Array.
 */
import koffi from 'koffi';

export type Pointer = bigint;

const libc = koffi.load('libc.so.6');
const libbpf = koffi.load('libbpf.so.1');

const size = 'size_t';

const objectLoad = libbpf.func('int bpf_object__load(void *object)');
const linkCreate = libbpf.func('int bpf_link_create(int program, int target, int type, const void *opts)');

/** What errno() gives: noted when a call has failed, for the thread's own is soon that of another call, V8's included. */
let failure = 0;

/** libbpf's functions give -errno (since 1.0); libc's, and those that give a pointer, leave it with the thread. */
function noting<T extends Readonly<Record<string, (...values: never[]) => unknown>>>(
  calls: T,
  from: 'result' | 'thread',
): T {
  const noted = Object.entries(calls).map(([name, call]) => {
    const noticed = (...values: never[]): unknown => {
      const result = call(...values);
      if (typeof result !== 'number') failure = koffi.errno();
      else if (result < 0) failure = from === 'result' ? -result : koffi.errno();
      return result;
    };
    return [name, noticed] as const;
  });
  return Object.fromEntries(noted) as T;
}

const libcCalls = {
  open: libc.func('int open(const char *path, int flags)') as (path: string, flags: number) => number,
  close: libc.func('int close(int fd)') as (fd: number) => number,
  mallopt: libc.func('int mallopt(int name, int value)') as (name: number, value: number) => number,
  mallocTrim: libc.func('int malloc_trim(size_t pad)') as (pad: number) => number,
  setns: libc.func('int setns(int fd, int type)') as (fd: number, type: number) => number,
  unshare: libc.func('int unshare(int flags)') as (flags: number) => number,
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, ulong flags, const char *data)',
  ) as (source: string, target: string, type: string, flags: number, data: string | null) => number,
  umount2: libc.func('int umount2(const char *target, int flags)') as (target: string, flags: number) => number,
  socket: libc.func('int socket(int domain, int type, int protocol)') as (
    domain: number,
    type: number,
    protocol: number,
  ) => number,
  bind: libc.func('int bind(int fd, const void *address, uint length)') as (
    fd: number,
    address: Uint8Array,
    length: number,
  ) => number,
  listen: libc.func('int listen(int fd, int backlog)') as (fd: number, backlog: number) => number,
  connect: libc.func('int connect(int fd, const void *address, uint length)') as (
    fd: number,
    address: Uint8Array,
    length: number,
  ) => number,
  send: libc.func('long send(int fd, const void *data, size_t length, int flags)') as (
    fd: number,
    data: Uint8Array,
    length: number,
    flags: number,
  ) => number,
  recv: libc.func('long recv(int fd, void *data, size_t length, int flags)') as (
    fd: number,
    data: Uint8Array,
    length: number,
    flags: number,
  ) => number,
  sendto: libc.func(
    'long sendto(int fd, const void *data, size_t length, int flags, const void *address, uint alen)',
  ) as (
    fd: number,
    data: Uint8Array,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ) => number,
  setsockopt: libc.func('int setsockopt(int fd, int level, int name, const void *value, uint length)') as (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: number,
  ) => number,
  getsockopt: libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)') as (
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: Uint8Array,
  ) => number,
  flock: libc.func('int flock(int fd, int operation)') as (fd: number, operation: number) => number,
  mmap: libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)') as (
    address: null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => Pointer,
  poll: libc.func('int poll(_Inout_ void *fds, ulong count, int timeout)') as (
    fds: Uint8Array,
    count: number,
    timeout: number,
  ) => number,
  munmap: libc.func('int munmap(void *address, size_t length)') as (address: Pointer, length: number) => number,
};

export const c = noting(libcCalls, 'thread');

/** A call in a thread of its own. */
function aside(call: ReturnType<typeof libbpf.func>, ...values: readonly unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...values, (error: Error | null, result: number) => (error === null ? resolve(result) : reject(error)));
  });
}

/** struct bpf_test_run_opts of libbpf 1.1. */
const testRunOpts = koffi.struct('ciliate_test_run_opts', {
  sz: size,
  data_in: 'const void *',
  data_out: 'void *',
  data_size_in: 'uint32_t',
  data_size_out: 'uint32_t',
  ctx_in: 'const void *',
  ctx_out: 'void *',
  ctx_size_in: 'uint32_t',
  ctx_size_out: 'uint32_t',
  retval: 'uint32_t',
  repeat: 'int',
  duration: 'uint32_t',
  flags: 'uint32_t',
  cpu: 'uint32_t',
  batch_size: 'uint32_t',
});

export interface TestRunOpts {
  sz: number;
  data_in: Uint8Array | null;
  data_out: Uint8Array | Pointer | null;
  data_size_in: number;
  data_size_out: number;
  ctx_in: Uint8Array | null;
  ctx_out: Uint8Array | Pointer | null;
  ctx_size_in: number;
  ctx_size_out: number;
  retval: number;
  repeat: number;
  duration: number;
  flags: number;
  cpu: number;
  batch_size: number;
}

export const testRunOptsSize = koffi.sizeof(testRunOpts);

const libbpfCalls = {
  objectOpen: libbpf.func('void *bpf_object__open(const char *path)') as (path: string) => Pointer | null,
  objectLoad: objectLoad as (object: Pointer) => number,
  /** In a thread of its own: the verifier takes its time. Nothing else may use the object until it resolves. */
  objectLoadAside: (object: Pointer): Promise<number> => aside(objectLoad, object),
  objectClose: libbpf.func('void bpf_object__close(void *object)') as (object: Pointer) => void,
  nextProgram: libbpf.func('void *bpf_object__next_program(const void *object, void *program)') as (
    object: Pointer,
    program: Pointer | null,
  ) => Pointer | null,
  nextMap: libbpf.func('void *bpf_object__next_map(const void *object, void *map)') as (
    object: Pointer,
    map: Pointer | null,
  ) => Pointer | null,
  programName: libbpf.func('const char *bpf_program__name(const void *program)') as (program: Pointer) => string,
  programFd: libbpf.func('int bpf_program__fd(const void *program)') as (program: Pointer) => number,
  programSetAutoload: libbpf.func('int bpf_program__set_autoload(void *program, bool on)') as (
    program: Pointer,
    on: boolean,
  ) => number,
  programSetFlags: libbpf.func('int bpf_program__set_flags(void *program, uint32_t flags)') as (
    program: Pointer,
    flags: number,
  ) => number,
  programType: libbpf.func('int bpf_program__type(const void *program)') as (program: Pointer) => number,
  programSetLogBuf: libbpf.func('int bpf_program__set_log_buf(void *program, void *buffer, size_t size)') as (
    program: Pointer,
    buffer: Pointer,
    size: number,
  ) => number,
  mapName: libbpf.func('const char *bpf_map__name(const void *map)') as (map: Pointer) => string,
  mapFd: libbpf.func('int bpf_map__fd(const void *map)') as (map: Pointer) => number,
  mapReuseFd: libbpf.func('int bpf_map__reuse_fd(void *map, int fd)') as (map: Pointer, fd: number) => number,
  mapSetMaxEntries: libbpf.func('int bpf_map__set_max_entries(void *map, uint32_t n)') as (
    map: Pointer,
    n: number,
  ) => number,
  innerMap: libbpf.func('void *bpf_map__inner_map(void *map)') as (map: Pointer) => Pointer | null,
  mapSetValueSize: libbpf.func('int bpf_map__set_value_size(void *map, uint32_t size)') as (
    map: Pointer,
    size: number,
  ) => number,
  mapSetInitialValue: libbpf.func('int bpf_map__set_initial_value(void *map, const void *data, size_t size)') as (
    map: Pointer,
    data: Uint8Array,
    size: number,
  ) => number,
  mapKeySize: libbpf.func('uint32_t bpf_map__key_size(const void *map)') as (map: Pointer) => number,
  mapValueSize: libbpf.func('uint32_t bpf_map__value_size(const void *map)') as (map: Pointer) => number,
  mapType: libbpf.func('int bpf_map__type(const void *map)') as (map: Pointer) => number,
  setPrint: libbpf.func('void *libbpf_set_print(void *callback)') as (callback: null) => Pointer | null,
  pin: libbpf.func('int bpf_obj_pin(int fd, const char *path)') as (fd: number, path: string) => number,
  get: libbpf.func('int bpf_obj_get(const char *path)') as (path: string) => number,
  info: libbpf.func('int bpf_obj_get_info_by_fd(int fd, void *info, void *length)') as (
    fd: number,
    info: Uint8Array,
    length: Uint8Array,
  ) => number,
  mapCreate: libbpf.func(
    'int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t entries, const void *opts)',
  ) as (
    type: number,
    name: string,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    opts: Uint8Array | null,
  ) => number,
  mapById: libbpf.func('int bpf_map_get_fd_by_id(uint32_t id)') as (id: number) => number,
  lookup: libbpf.func('int bpf_map_lookup_elem(int fd, const void *key, void *value)') as (
    fd: number,
    key: Uint8Array,
    value: Uint8Array,
  ) => number,
  update: libbpf.func('int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)') as (
    fd: number,
    key: Uint8Array,
    value: Uint8Array,
    flags: number,
  ) => number,
  delete: libbpf.func('int bpf_map_delete_elem(int fd, const void *key)') as (fd: number, key: Uint8Array) => number,
  nextKey: libbpf.func('int bpf_map_get_next_key(int fd, const void *key, void *next)') as (
    fd: number,
    key: Uint8Array | null,
    next: Uint8Array,
  ) => number,
  lookupBatch: libbpf.func(
    'int bpf_map_lookup_batch(int fd, void *in_batch, void *out_batch, void *keys, void *values, _Inout_ uint32_t *count, const void *opts)',
  ) as (
    fd: number,
    from: Uint8Array | null,
    next: Uint8Array,
    keys: Uint8Array,
    values: Uint8Array,
    count: [number],
    opts: null,
  ) => number,
  updateBatch: libbpf.func(
    'int bpf_map_update_batch(int fd, const void *keys, const void *values, _Inout_ uint32_t *count, const void *opts)',
  ) as (fd: number, keys: Uint8Array, values: Uint8Array, count: [number], opts: null) => number,
  deleteBatch: libbpf.func(
    'int bpf_map_delete_batch(int fd, const void *keys, _Inout_ uint32_t *count, const void *opts)',
  ) as (fd: number, keys: Uint8Array, count: [number], opts: null) => number,
  testRun: libbpf.func('int bpf_prog_test_run_opts(int fd, _Inout_ ciliate_test_run_opts *opts)') as (
    fd: number,
    opts: TestRunOpts,
  ) => number,
  linkCreate: linkCreate as (program: number, target: number, type: number, opts: Uint8Array | null) => number,
  /** In a thread of its own: attaching waits for a grace period of the kernel. Resolves to a descriptor or -errno. */
  linkCreateAside: (program: number, target: number, type: number): Promise<number> =>
    aside(linkCreate, program, target, type, null),
  linkUpdate: libbpf.func('int bpf_link_update(int link, int program, const void *opts)') as (
    link: number,
    program: number,
    opts: null,
  ) => number,
  linkDetach: libbpf.func('int bpf_link_detach(int link)') as (link: number) => number,
  programQuery: libbpf.func(
    'int bpf_prog_query(int target, int type, uint32_t flags, void *attach_flags, void *ids, _Inout_ uint32_t *count)',
  ) as (target: number, type: number, flags: number, attachFlags: null, ids: null, count: [number]) => number,
  numPossibleCpus: libbpf.func('int libbpf_num_possible_cpus()') as () => number,
};

export const bpf = noting(libbpfCalls, 'result');

/** errno of the last call that failed; read it before the next one. */
export const errno = (): number => failure;
export const alloc = (bytes: number): Pointer => koffi.alloc('uint8_t', bytes);
export const free = (pointer: Pointer): void => koffi.free(pointer);
/** The NUL-terminated text at a pointer. */
export const cString = (pointer: Pointer): string => koffi.decode.string(pointer);
/** Memory at a pointer, not copied: valid as long as the mapping is. */
export const viewMemory = (pointer: Pointer, length: number): ArrayBuffer => koffi.view(pointer, length);
/** Calls `ready` when `fd` can be read, until the returned function is called. */
export function pollReadable(fd: number, ready: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true }, ready);
  return () => handle.stop();
}

// libbpf's own messages go to stderr otherwise; what matters of them is in the verifier's log, which we keep.
bpf.setPrint(null);
