/**
 * kubectl's typed commands (`create deployment`, `create service`, `run` …) may send protobuf: 'k8s\0', then a runtime.Unknown
 * whose `raw` is the object (apimachinery/pkg/runtime/generated.proto). Only what those commands fill is known here; the field
 * numbers are those of the public .proto files (k8s.io/api/*). Any other kind is refused as an unsupported media type.
 */
import type { Json, JsonObject } from './object.ts';
import { ApiError } from './status.ts';

/** How one field is read: a scalar, a map of strings, a message, or a list of one of them. */
type Type = 'string' | 'int' | 'bool' | 'bytes' | 'map' | 'bytemap' | 'intorstring' | Schema;
interface Schema {
  readonly [field: number]: readonly [name: string, type: Type, repeated?: 'list'];
}

const meta: Schema = {
  1: ['name', 'string'],
  2: ['generateName', 'string'],
  3: ['namespace', 'string'],
  11: ['labels', 'map'],
  12: ['annotations', 'map'],
};
const port: Schema = {
  1: ['name', 'string'],
  2: ['hostPort', 'int'],
  3: ['containerPort', 'int'],
  4: ['protocol', 'string'],
  5: ['hostIP', 'string'],
};
const variable: Schema = { 1: ['name', 'string'], 2: ['value', 'string'] };
const container: Schema = {
  1: ['name', 'string'],
  2: ['image', 'string'],
  3: ['command', 'string', 'list'],
  4: ['args', 'string', 'list'],
  5: ['workingDir', 'string'],
  6: ['ports', port, 'list'],
  7: ['env', variable, 'list'],
  14: ['imagePullPolicy', 'string'],
};
const podSpec: Schema = {
  2: ['containers', container, 'list'],
  3: ['restartPolicy', 'string'],
  4: ['terminationGracePeriodSeconds', 'int'],
  6: ['dnsPolicy', 'string'],
  7: ['nodeSelector', 'map'],
  8: ['serviceAccountName', 'string'],
  10: ['nodeName', 'string'],
  11: ['hostNetwork', 'bool'],
};
const selector: Schema = { 1: ['matchLabels', 'map'] };
const template: Schema = { 1: ['metadata', meta], 2: ['spec', podSpec] };
const servicePort: Schema = {
  1: ['name', 'string'],
  2: ['protocol', 'string'],
  3: ['port', 'int'],
  4: ['targetPort', 'intorstring'],
  5: ['nodePort', 'int'],
};
const serviceSpec: Schema = {
  1: ['ports', servicePort, 'list'],
  2: ['selector', 'map'],
  3: ['clusterIP', 'string'],
  4: ['type', 'string'],
  5: ['externalIPs', 'string', 'list'],
  7: ['sessionAffinity', 'string'],
  10: ['externalName', 'string'],
};

const kinds: Readonly<Record<string, Schema>> = {
  Pod: { 1: ['metadata', meta], 2: ['spec', podSpec] },
  Deployment: {
    1: ['metadata', meta],
    2: ['spec', { 1: ['replicas', 'int'], 2: ['selector', selector], 3: ['template', template] }],
  },
  Service: { 1: ['metadata', meta], 2: ['spec', serviceSpec] },
  ConfigMap: { 1: ['metadata', meta], 2: ['data', 'map'] },
  Secret: { 1: ['metadata', meta], 2: ['data', 'bytemap'], 3: ['type', 'string'] },
  Namespace: { 1: ['metadata', meta] },
  ServiceAccount: { 1: ['metadata', meta] },
};

const magic = Buffer.from('k8s\0', 'latin1');

export function isProtobuf(body: Buffer): boolean {
  return body.subarray(0, 4).equals(magic);
}

class Reader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#offset >= this.#bytes.length;
  }

  varint(): number {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#offset] ?? 0;
      this.#offset += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return Number(BigInt.asIntN(64, value));
  }

  bytes(length: number): Buffer {
    const found = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return found;
  }
}

/** Every field of a message: number and content; varints as numbers. */
function* fields(bytes: Buffer): IterableIterator<readonly [number, number | Buffer]> {
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = reader.varint();
    const wire = tag & 7;
    const field = tag >>> 3;
    if (wire === 0) yield [field, reader.varint()];
    else if (wire === 2) yield [field, reader.bytes(reader.varint())];
    else reader.bytes(wire === 1 ? 8 : 4);
  }
}

function mapEntry(bytes: Buffer, encoding: 'utf8' | 'base64'): JsonObject {
  const found = new Map(fields(bytes));
  const text = (field: number, as: 'utf8' | 'base64'): string => {
    const value = found.get(field);
    return Buffer.isBuffer(value) ? value.toString(as) : '';
  };
  return { [text(1, 'utf8')]: text(2, encoding) };
}

function intOrString(bytes: Buffer): Json {
  const found = new Map(fields(bytes));
  const text = found.get(3);
  return found.get(1) === 1 && Buffer.isBuffer(text) ? text.toString('utf8') : Number(found.get(2) ?? 0);
}

function decodeValue(type: Type, value: number | Buffer): Json {
  if (type === 'bool') return value === 1;
  if (!Buffer.isBuffer(value)) return value;
  if (type === 'intorstring') return intOrString(value);
  if (type === 'bytes') return value.toString('base64');
  if (type === 'map' || type === 'bytemap') return mapEntry(value, type === 'map' ? 'utf8' : 'base64');
  return typeof type === 'object' ? message(value, type) : value.toString('utf8');
}

/** Empty strings and zeros are what protobuf writes for unset fields: left out. */
function message(bytes: Buffer, schema: Schema): JsonObject {
  const result: Record<string, Json | undefined> = {};
  for (const [field, content] of fields(bytes)) {
    const known = schema[field];
    if (known === undefined) continue;
    const [name, type, repeated] = known;
    const value = decodeValue(type, content);
    const before = result[name];
    if (repeated === 'list') result[name] = [...(Array.isArray(before) ? before : []), value];
    else if (type === 'map' || type === 'bytemap')
      result[name] = { ...(before as JsonObject | undefined), ...(value as JsonObject) };
    else if (value !== '' && value !== 0) result[name] = value;
  }
  return result;
}

/** A body of 'k8s\0' + runtime.Unknown as JSON text. Throws 415 for a kind that is not known here. */
export function protobufToJson(body: Buffer): string {
  const unknown = new Map(fields(body.subarray(4)));
  const [type, raw] = [unknown.get(1), unknown.get(2)];
  const typeMeta = Buffer.isBuffer(type) ? message(type, { 1: ['apiVersion', 'string'], 2: ['kind', 'string'] }) : {};
  const schema = kinds[String(typeMeta.kind)];
  if (schema === undefined || !Buffer.isBuffer(raw)) {
    throw new ApiError(
      415,
      'UnsupportedMediaType',
      `the sandbox does not read ${String(typeMeta.kind)} as protobuf: write it as YAML and use kubectl apply -f`,
    );
  }
  return JSON.stringify({ ...typeMeta, ...message(raw, schema) });
}
